"""The order in which the pages of a window are requested, so that none of its entries can be missed. Pure.

Pages are counted from the newest entry (API.md 10.2). The end of the window is fixed, but an entry may still come and
shift all older ones by a place. So the walk goes from the oldest page to the newest, each page repeats an entry of
the one before, and a page that does not is requested again from further back. What has been read is then always
everything from the beginning of the window to some entry: a walk that was interrupted goes on from there.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from recorder.errors import Malformed
from recorder.kraken.private_api import PAGE

SHIFTS: Final = 20
"""Steps back in a row that find no common entry: no account has so many late entries at once."""


class _Phase(enum.Enum):
    MEASURE = "measure"
    END = "end"
    UP = "up"


@dataclass(slots=True)
class PageWalk:
    """The walk over one window: request the page at :attr:`offset`, then :meth:`take` it, until :attr:`done`.

    A page of less than ``full`` entries, and as many as the answer counts, is the only one.

    ``joined`` is, after each page, whether everything older in the window has been read.
    """

    full: int = PAGE
    offset: int = 0
    done: bool = False
    joined: bool = False
    _size: int = 0
    _phase: _Phase = _Phase.MEASURE
    _before: frozenset[str] = frozenset()
    _shifts: int = 0
    _guessed: bool = False

    def take(self, ids: Collection[str], count: int | None) -> None:
        """Take the ids of the page that was requested, and the number of entries in the window according to the answer.

        Raises Malformed if pages have nothing in common, however far back they are requested.
        """
        match self._phase:
            case _Phase.MEASURE:
                self._measure(ids, count)
            case _Phase.END:
                self._seek_end(ids)
            case _Phase.UP:
                self._go_up(ids)

    def _measure(self, ids: Collection[str], count: int | None) -> None:
        """Take the newest page, which comes with how many entries there are; often it is the only one."""
        self._size = len(ids)
        if not ids or (count == len(ids) < self.full):
            self.joined = self.done = True
            return
        # Without a count the oldest page is found by going back page by page.
        self._phase = _Phase.END
        self._before = frozenset(ids)
        self.offset = max(self._size, (count or 0) - self._size)
        self._guessed = self.offset > self._size

    def _seek_end(self, ids: Collection[str]) -> None:
        """Go back until a page is not full: the count may be less than there are, or more."""
        if not ids and self._guessed:
            self.offset, self._guessed = self._size, False
            return
        self._guessed = False
        if len(ids) >= self._size:
            self._before = frozenset(ids)
            self.offset += self._size
            return
        self.joined, self._phase = True, _Phase.UP
        self._before = frozenset(ids) or self._before
        if not ids:  # the page before was the oldest, and has been read
            self.offset -= self._size
        self._next()

    def _go_up(self, ids: Collection[str]) -> None:
        if self._before.isdisjoint(ids):
            self._shifts += 1
            if self._shifts > SHIFTS:
                raise Malformed("pages of one window have no entry in common: entries came, or vanished, meanwhile")
            self.joined = False
            self.offset += max(1, self._size // 2)
            return
        self._shifts, self.joined, self._before = 0, True, frozenset(ids)
        self._next()

    def _next(self) -> None:
        if self.offset == 0:
            self.done = True
        self.offset = max(0, self.offset - max(1, self._size - 1))
