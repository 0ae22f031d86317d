"""The interface of a market, whether invented or replayed, to the rest of the sandbox.

Contains the interface alone. A market is pure: time is passed as an argument and there is no I/O, so that the same
calls always make the same trades.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from recorder.sandbox.pairs import Pair, SandboxListing
from recorder.sandbox.tape import NewTrades, Tape


@dataclass(frozen=True, slots=True)
class PlayedFrame:
    """One recorded frame, sent verbatim to everyone who follows one of ``symbols``, and its trades."""

    text: str
    symbols: frozenset[str]
    made: tuple[NewTrades, ...]


class MarketProtocol(Protocol):
    """A market: its listing, one tape for each pair by v2 symbol, and the passing of time.

    Impossible changes of the listing raise UsageError.
    """

    @property
    def listing(self) -> SandboxListing:
        """The listed pairs."""
        ...

    @property
    def tapes(self) -> Mapping[str, Tape]:
        """v2 symbol → everything traded so far."""
        ...

    def advance(self, now_ns: int) -> list[NewTrades]:
        """Make the trades due up to now; the caller prints and pushes them."""
        ...

    def play(self, now_ns: int) -> list[PlayedFrame]:
        """Return the recorded frames due up to now; the caller pushes them verbatim."""
        ...

    def burst(self, symbol: str, n: int, now_ns: int) -> list[NewTrades]:
        """Make ``n`` trades of one pair at once."""
        ...

    def wanted(self, symbol: str, now_ns: int) -> None:
        """Record that a client has subscribed."""
        ...

    def enlist(self, pair: Pair, *, now_ns: int, trades_per_s: float) -> None:
        """List a pair; an invented market trades it at this rate."""
        ...

    def delist(self, symbol: str) -> None:
        """Remove a pair from the listing; it stops trading."""
        ...

    def relist(self, symbol: str, pair: Pair, *, now_ns: int) -> None:
        """Replace a listed pair by another entry, perhaps of another name."""
        ...

    def renumber(self, symbol: str) -> None:
        """Restart the ids of a listed pair at 1."""
        ...

    def skip(self, paused_ns: int) -> None:
        """Postpone everything due by the time during which the market stood still."""
        ...
