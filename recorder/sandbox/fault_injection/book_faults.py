"""Faults of books on demand: wrong checksums, lost frames, crossed prices, and snapshots that nobody asked for.

Contains for how many frames of which pair. Each counts down to its end, or is released before.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from recorder.errors import UsageError
from recorder.sandbox.tape import Tape

NAMES: Final = ("checksum", "lose_top", "lose_deep", "cross", "snapshot")
"""What happens to the next frames: its checksum is wrong; it is lost, if it changes one of the best ten levels, or if
it changes only deeper ones; the best bid is above the best ask; a snapshot follows."""


class BookFaults:
    """The faults that are active."""

    def __init__(self) -> None:
        self._left: Counter[tuple[str, str]] = Counter()

    def throw(self, symbol: str, name: str, n: int = 1) -> None:
        """Let a fault of :data:`NAMES` happen to the next ``n`` frames of a pair. Raise UsageError."""
        if name not in NAMES or n < 1:
            raise UsageError(f"there is no fault {name!r} of {n} frames of a book; there are {', '.join(NAMES)}")
        self._left[symbol, name] += n

    def release(self) -> None:
        """Stop all of them."""
        self._left.clear()

    def spoils(self, symbol: str) -> bool:
        """Return whether the checksum of a frame is wrong, and count it."""
        return self._strikes(symbol, "checksum")

    def loses(self, symbol: str, *, is_deep: bool) -> bool:
        """Return whether a frame is lost, and count it; ``is_deep`` is whether the best ten levels stay as they are."""
        return self._strikes(symbol, "lose_deep" if is_deep else "lose_top")

    def resends(self, symbol: str) -> bool:
        """Return whether a snapshot follows a change, and count it."""
        return self._strikes(symbol, "snapshot")

    def crossed(self, tape: Tape, bids: dict[int, int], asks: dict[int, int], depth: int) -> dict[int, int]:
        """Return the bids as they are shown: with one more above the best ask, if that is due, and count it."""
        if not asks or not self._strikes(tape.pair.symbol, "cross"):
            return bids
        best = next(iter(asks))
        above = best + max(1, int(tape.pair.tick_size.scaleb(tape.price_digits)))
        return dict(list(({above: asks[best]} | bids).items())[:depth])

    def _strikes(self, symbol: str, name: str) -> bool:
        if self._left[symbol, name] < 1:
            return False
        self._left[symbol, name] -= 1
        return True
