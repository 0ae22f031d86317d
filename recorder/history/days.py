"""The UTC days of a member without ids: its rows, in order, as the days that they belong to, in bounded memory.

Rows come in the order of execution, and their times may step back a little. So a day is complete only once a row comes
that is later than its end by :data:`BACK_US`. A row that steps back further is set aside.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from recorder.archive.bulk_trades import NewDay, whole_day
from recorder.core.certificate import DAY_US
from recorder.history.in_order import InOrder, times_us
from recorder.history.numbered_rows import CLASSIC, Numbered, Odd

BACK_US: Final = 3_600_000_000
"""How far the time of a row may be before that of an earlier row: far more than an exchange's clocks differ."""
_SECOND_US: Final = 1_000_000


class Days:
    """Collects rows, and gives the days that are complete: :meth:`add` what was read, and at last :meth:`rest`.

    Rows outside ``possible`` times (µs since 1970 UTC) are set aside, with all other lines that are none of a day: they
    are passed to ``set_aside``. A day that such a line is in or beside covers no time: a trade may be missing in it.
    """

    def __init__(self, possible: tuple[int, int], set_aside: Callable[[list[Odd]], None]) -> None:
        self._set_aside = set_aside
        self._order = InOrder(CLASSIC, possible, BACK_US)
        self._latest_us = -1
        self._open: dict[int, list[pa.Table]] = {}
        self._next: int | None = None
        self._broken: set[int] = set()
        self._waiting: int | None = None
        self._begins_us = 0

    def add(self, read: Numbered) -> Iterator[NewDay]:
        """Add rows, and yield the days that are complete by them."""
        rows, odd = self._order.add(read)
        self._mark(pa.concat_tables([rows, self._order.held]), odd)
        self._put(rows)
        yield from self._complete(self._latest_us - BACK_US)

    def rest(self) -> Iterator[NewDay]:
        """Yield the remaining days, of which the last is cut by the member's end."""
        self._put(self._order.rest())
        yield from self._complete(None)

    def _put(self, rows: pa.Table) -> None:
        times = times_us(rows)
        if not len(times):
            return
        days = times // DAY_US
        if self._next is None:
            self._begins_us = int(times[0])
            self._next = int(days[0])
        self._next = min(self._next, int(days.min()))
        self._latest_us = max(self._latest_us, int(times.max()))
        if np.all(days[1:] >= days[:-1]):
            edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
            for begin, end in itertools.pairwise(edges):
                self._open.setdefault(int(days[begin]), []).append(rows.slice(begin, end - begin))
        else:
            for day in np.unique(days).tolist():
                self._open.setdefault(day, []).append(rows.filter(pa.array(days == day)))

    def _mark(self, rows: pa.Table, odd: list[Odd]) -> None:
        """Mark the days of the rows before and after each odd line."""
        numbers, days = rows["row"].to_numpy(), times_us(rows) // DAY_US
        if odd:
            self._set_aside(odd)
        for number in [*([] if self._waiting is None else [self._waiting]), *(line.row for line in odd)]:
            at = int(np.searchsorted(numbers, number))
            self._broken.update(days[max(0, at - 1) : at + 1].tolist())
            self._waiting = number if at == len(days) else None

    def _complete(self, before_us: int | None) -> Iterator[NewDay]:
        """Yield the days that end by a time, all if it is None; also those between others that have no rows."""
        if self._next is None:
            return
        last = self._latest_us // DAY_US
        while self._next <= last and (before_us is None or whole_day(self._next)[1] <= before_us):
            day = self._next
            self._next = day + 1
            parts = self._open.pop(day, [])
            rows = pa.concat_tables(parts) if parts else CLASSIC.columns().empty_table()
            yield NewDay(day, rows, *self._span(day, last=before_us is None and day == last))

    def _span(self, day: int, *, last: bool) -> tuple[int, int]:
        """Return the time of a day of which the member has all trades."""
        from_us, until_us = whole_day(day)
        if day in self._broken:
            return from_us, from_us
        # Of the seconds in which the member begins and ends it may have a part.
        from_us = max(from_us, self._begins_us + _SECOND_US)
        if last:
            until_us = self._latest_us
        return min(from_us, until_us), until_us


def days_of(read: Iterable[Numbered], found: Days) -> Iterator[NewDay]:
    """Yield the days of all that is read."""
    for part in read:
        yield from found.add(part)
    yield from found.rest()
