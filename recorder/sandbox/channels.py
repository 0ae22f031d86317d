"""The differences between the channels of a WebSocket connection (API.md 8.5): a new channel is one entry here.

Contains the options of a subscription, and the frames that follow from it. Symbols, acknowledgements and connections
are in ``websocket``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recorder.sandbox import wire_format
from recorder.sandbox.tape import NewTrades, Tape

SNAPSHOT_TRADES: Final = 50
"""Trades in the snapshot after a subscription (API.md 8.5)."""


class SubscriptionRefused(Exception):
    """No symbol is subscribed; this text is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel. Its frames are made from the tape of a pair."""

    name: str
    accepted: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The fields of an acknowledgement that follow from the params, beside channel and symbol; the end of a
    subscription leaves out ``snapshot``. Raises SubscriptionRefused if a subscription is refused as a whole.
    """
    snapshot: Callable[[Tape], str]
    """The frame that begins a subscription, if one was requested."""
    updates: Callable[[Tape, NewTrades, int], Iterable[str]]
    """The frames with the trades just made, with at most this many trades each."""


def _trades_accepted(params: Mapping[str, Any]) -> dict[str, Any]:
    symbols = params.get("symbol")
    if not (isinstance(symbols, list) and symbols and all(isinstance(symbol, str) for symbol in symbols)):
        raise SubscriptionRefused("Malformed request: symbol is a list of texts")
    return {"snapshot": params.get("snapshot", False) is True}


TRADES: Final = Channel(
    name="trade",
    accepted=_trades_accepted,
    snapshot=lambda tape: wire_format.snapshot_frame(tape, SNAPSHOT_TRADES),
    updates=lambda tape, made, most: wire_format.update_frames(tape, made, limit=most),
)
CHANNELS: Final = (TRADES,)
