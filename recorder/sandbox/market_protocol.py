"""What the rest of the sandbox asks of a market, be it invented or replayed.

Owns the contract alone. A market is pure: it learns the time by argument and does no I/O, so that the same calls
always make the same trades.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from recorder.sandbox.pairs import Pair, SandboxListing
from recorder.sandbox.tape import NewTrades, Tape


@dataclass(frozen=True, slots=True)
class PlayedFrame:
    """One recorded frame, to be sent as it stands to everyone who follows one of ``symbols``; and what it tells."""

    text: str
    symbols: frozenset[str]
    made: tuple[NewTrades, ...]


class MarketProtocol(Protocol):
    """A market: its listing, one tape for each pair by v2 symbol, and the passing of time.

    Changes of the listing raise UsageError where they cannot be.
    """

    @property
    def listing(self) -> SandboxListing:
        """The pairs."""
        ...

    @property
    def tapes(self) -> Mapping[str, Tape]:
        """v2 symbol → everything traded so far."""
        ...

    def advance(self, now_ns: int) -> list[NewTrades]:
        """Make the trades due up to now; they are to be printed and pushed."""
        ...

    def play(self, now_ns: int) -> list[PlayedFrame]:
        """Return the recorded frames due up to now; they are to be pushed verbatim."""
        ...

    def burst(self, symbol: str, n: int, now_ns: int) -> list[NewTrades]:
        """Make ``n`` trades of one pair at once."""
        ...

    def wanted(self, symbol: str, now_ns: int) -> None:
        """Take note that somebody has subscribed."""
        ...

    def enlist(self, pair: Pair, *, now_ns: int, trades_per_s: float) -> None:
        """List a pair; where the market invents, it trades at this rate."""
        ...

    def delist(self, symbol: str) -> None:
        """Take a pair from the listing; it trades no more."""
        ...

    def relist(self, symbol: str, pair: Pair, *, now_ns: int) -> None:
        """Put another entry, perhaps of another name, in the place of a listed pair."""
        ...

    def renumber(self, symbol: str) -> None:
        """Count the trades of a listed pair from 1 again."""
        ...

    def skip(self, paused_ns: int) -> None:
        """Put off everything that is due by the time during which the market stood still."""
        ...
