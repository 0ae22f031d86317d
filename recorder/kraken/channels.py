"""The channels of WebSocket v2 as data: everything a session needs to know of its channel (API.md 8.5 to 8.8).

A new channel is one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from recorder.core.trade_ids import Run
from recorder.kraken import book_frames, ticker_frames, trade_frames
from recorder.kraken.book_frames import BookMessage
from recorder.kraken.odd_rows import OddRow
from recorder.kraken.ticker_frames import TopRow


class OfPair(Protocol):
    """What a frame proves of one pair."""

    @property
    def pair(self) -> str:
        """The v2 symbol."""
        ...


Claim = TypeVar("Claim", bound=OfPair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel(Generic[Claim]):
    """One channel: how to subscribe to it, how to recognise its frames, and what they prove."""

    name: str
    claims: Callable[[bytes], list[Claim]]
    """Returns what one frame proves of each pair in it: of a channel with ids their runs, from which gaps are detected;
    of others its rows, which are numbered as they come. Raises Malformed for a frame that cannot be read."""
    only: Callable[[bytes, Callable[[str], bool]], bytes | None]
    """Returns a frame with only the rows whose symbol passes a test, byte for byte; None if no row does."""
    snapshot: bool
    """Whether a subscription begins with a snapshot. Always sent: Kraken's defaults have changed (API.md 8.5)."""
    params: Mapping[str, object] = field(default_factory=dict)
    """Further params of a subscription, and of its end, besides channel and symbols."""
    salvage: Callable[[bytes], tuple[list[Claim], Sequence[OddRow]]] | None = None
    """Reads the rows of a frame that ``claims`` refuses one by one; returns their runs and the rows that cannot be
    read. Raises Malformed if none can. None: a frame is read whole or not at all."""

    @property
    def prefix(self) -> bytes:
        """The first bytes of its frames in Kraken's present spelling: the fast way to recognise them."""
        return b'{"channel":"%b",' % self.name.encode()

    def subscription(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Return the params that subscribe to ``symbols``."""
        return {**self.end(symbols), "snapshot": self.snapshot}

    def end(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Return the params that end the subscriptions to ``symbols``."""
        return {"channel": self.name, **self.params, "symbol": list(symbols)}


TRADES: Final[Channel[Run]] = Channel(
    name="trade",
    claims=trade_frames.parse_runs,
    salvage=trade_frames.salvage_runs,
    only=trade_frames.only_rows,
    snapshot=True,
)
"""Numbered per pair. The snapshot contains the latest 50 trades and closes most short gaps without a request."""

QUOTES: Final[Channel[TopRow]] = Channel(
    name="ticker",
    claims=ticker_frames.rows,
    only=ticker_frames.only,
    snapshot=True,
    params={"event_trigger": "bbo"},
)
"""The best bid and ask, whenever one of them changes in price or quantity. Its frames have no ids: what was not
received is lost, and only sessions (``quote_session``) tell where that may be."""

BOOKS: Final[Channel[BookMessage]] = Channel(
    name=book_frames.CHANNEL,
    claims=book_frames.messages,
    only=book_frames.only,
    snapshot=True,
)
"""The best levels of each side: a snapshot, then every change of them. Its params need a ``depth`` besides. Its frames
have no ids either, but each has the checksum of the book after it."""
