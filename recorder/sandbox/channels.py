"""The differences between the channels of a WebSocket connection (API.md 8.5): a new channel is one entry here.

Contains the options of a subscription, and the frames that follow from it. Symbols, acknowledgements and connections
are in ``websocket``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from recorder.sandbox import wire_format
from recorder.sandbox.book_feed import DEPTHS, BookFeed
from recorder.sandbox.tape import NewTrades, Tape
from recorder.sandbox.ticker_feed import TickerFeed

SNAPSHOT_TRADES: Final = 50
"""Trades in the snapshot after a subscription (API.md 8.5)."""


class SubscriptionRefused(Exception):
    """No symbol is subscribed; this text is the answer."""


class Update(NamedTuple):
    """A frame, and what it requires of a subscription beside channel and symbol."""

    text: str
    requires: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channel:
    """One channel. Its frames are made from the tape of a pair."""

    name: str
    accepted: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The fields of an acknowledgement that follow from the params, beside channel and symbol; the end of a
    subscription leaves out ``snapshot``. Raises SubscriptionRefused if a subscription is refused as a whole.
    """
    snapshot: Callable[[Tape, Mapping[str, Any]], str]
    """The frame that begins a subscription, given what was ``accepted``, if one was requested."""
    updates: Callable[[Tape, NewTrades, int], Iterable[Update]]
    """The frames that follow from the trades just made, with at most this many trades each."""
    moves: Callable[[Sequence[Tape]], Iterable[tuple[str, Update]]] = lambda _: ()
    """The frames that time alone makes due, with their symbols, given the tapes of all pairs that are followed."""


def _check_symbols(params: Mapping[str, Any]) -> None:
    symbols = params.get("symbol")
    if not (isinstance(symbols, list) and symbols and all(isinstance(symbol, str) for symbol in symbols)):
        raise SubscriptionRefused("Malformed request: symbol is a list of texts")


def _trades_accepted(params: Mapping[str, Any]) -> dict[str, Any]:
    _check_symbols(params)
    return {"snapshot": params.get("snapshot", False) is True}


def _ticker_accepted(params: Mapping[str, Any]) -> dict[str, Any]:
    _check_symbols(params)
    trigger = params.get("event_trigger", TRIGGERS[0])
    if trigger not in TRIGGERS:
        raise SubscriptionRefused("Event trigger not supported")
    return {"event_trigger": trigger, "snapshot": params.get("snapshot", True) is True}


TRADES: Final = Channel(
    name="trade",
    accepted=_trades_accepted,
    snapshot=lambda tape, _: wire_format.snapshot_frame(tape, SNAPSHOT_TRADES),
    updates=lambda tape, made, most: map(Update, wire_format.update_frames(tape, made, limit=most)),
)
TRIGGERS: Final = ("trades", "bbo")
"""What makes a frame of the ticker: each trade, or each change of the best bid or ask."""


def ticker(feed: TickerFeed) -> Channel:
    """Return the channel of the best bid and ask."""

    def updates(tape: Tape, _made: NewTrades, _most: int) -> Iterator[Update]:
        text, is_new = feed.traded(tape)
        yield Update(text, {"event_trigger": "trades"})
        if is_new:
            yield Update(text, {"event_trigger": "bbo"})

    def moves(tapes: Sequence[Tape]) -> Iterator[tuple[str, Update]]:
        for symbol, text in feed.moved(tapes):
            yield symbol, Update(text, {"event_trigger": "bbo"})

    return Channel(
        name="ticker",
        accepted=_ticker_accepted,
        snapshot=lambda tape, _: feed.snapshot(tape),
        updates=updates,
        moves=moves,
    )


def books(feed: BookFeed) -> Channel:
    """Return the channel of the best levels of each side."""

    def updates(tape: Tape, _made: NewTrades, _most: int) -> Iterator[Update]:
        for depth, text in feed.traded(tape):
            yield Update(text, {"depth": depth})

    def moves(tapes: Sequence[Tape]) -> Iterator[tuple[str, Update]]:
        for symbol, depth, text in feed.moved(tapes):
            yield symbol, Update(text, {"depth": depth})

    return Channel(
        name="book",
        accepted=_book_accepted,
        snapshot=lambda tape, accepted: feed.snapshot(tape, accepted["depth"]),
        updates=updates,
        moves=moves,
    )


def _book_accepted(params: Mapping[str, Any]) -> dict[str, Any]:
    _check_symbols(params)
    depth = params.get("depth", DEPTHS[0])
    if depth not in DEPTHS:
        raise SubscriptionRefused("Subscription depth not supported")
    return {"depth": depth, "snapshot": params.get("snapshot", True) is True}
