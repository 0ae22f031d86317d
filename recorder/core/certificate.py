"""What can be proven of each UTC day of a pair: a certificate from ids, times and what the exchange said.

Owns: the proof. Refuses: to read anything. It rests on one rule of the exchange: trades are numbered in the order in
which they are made. So ids that are missing between two held trades were made between their times, ids missing below
the first one before it, and ids after the last one after it, or after the moment until which the exchange has
confirmed that none came.

A day is proven when no id that is neither held nor void can have been made on it. That is the same as: every id from
the last trade before the day to the first trade after it is held or void, or a confirmation reaches beyond its end.
A pair whose ids are known down to 1 has nothing before them. Where an archive begins in the middle of a pair, its
first day is open: the ids below may belong to it, however early the first trade held was made. It is proven once the
last trade of the day before is held.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import accumulate
from typing import Final, Literal

from recorder.core.gaps import Gaps
from recorder.core.ids import Run, Span
from recorder.core.knowledge import Confirmed
from recorder.core.plausible import EARLIEST_US

Status = Literal["complete", "pending", "open", "empty"]
"""``complete``: has trades, and no other can be missing. ``empty``: proven to have none. ``open``: neither is proven.
``pending``: not over yet."""

DAY_US: Final = 86_400_000_000
AHEAD_DAYS: Final = 366
"""So far ahead of now days are told of one by one: the clock may be behind."""
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class DayRows:
    """What is held of one day: ids and times of the first and last of its trades (µs since 1970 UTC).

    ``sha256`` is over its canonical rows (docs/format.md), if they were read.
    """

    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is proven of one UTC day of a pair.

    ``missing`` ids lie between held ones and may belong to the day; ``void`` ids do not exist and would lie there;
    those about midnight count on both days. ``before`` and ``after`` tell that the day may have trades before the first
    or after the last id held: how many nobody can say.
    """

    pair: str
    day: date
    status: Status
    held: DayRows | None
    missing: int
    void: int
    before: bool
    after: bool

    def lacks(self, history_from: date | None = None) -> bool:
        """Tell whether something wanted is missing: ids between held ones, and history if it is wanted.

        ``history_from`` is the day from which on it is (``date.min`` for all there is), None for none. What may have
        come after the last id held is the recorder's to fetch and no fault of the archive, and today is not over.
        """
        over = self.status != "pending"
        history = self.before and history_from is not None and history_from < self.day
        return history or (over and (self.missing > 0 or (self.before and history_from == self.day)))


def utc_day(time_us: int) -> date:
    """Return the UTC day of a moment in µs since 1970."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).date()


def certificates(
    pair: str,
    held: Iterable[Run],
    days: Mapping[date, DayRows],
    *,
    now_us: int,
    void: Iterable[Span] = (),
    confirmed: Iterable[Confirmed] = (),
) -> list[Certificate]:
    """Return a certificate of every day from the first trade held to today, oldest first; none if nothing is held.

    A trade with a time at which none can have been made gets a day of its own, and none between.

    ``held`` are disjoint runs of ids, in any order; ``days`` what they hold of each day. Held beats void, and a
    confirmation that a held trade refutes is not believed.
    """
    runs = list(held)
    if not runs:
        return []
    gaps = Gaps(runs, void, confirmed)
    today = _number(now_us)
    numbers = _calendar({_number(gaps.runs[0].first_us), *(day.toordinal() - _EPOCH for day in days)}, now_us)
    missing, voids, before, after = (_Tally(numbers[0], numbers[-1]) for _ in range(4))
    for gap in gaps.before():
        before.add(1, gaps.from_us(gap), gap.before_us)
    for gap in gaps.after():
        after.add(1, gaps.from_us(gap), None)
    for gap in gaps.between():
        missing.add(len(gap.span), gaps.from_us(gap), gap.before_us)
    for gap in gaps.void():
        voids.add(len(gap.span), gap.after_us, gap.before_us)
    columns = list(zip(missing.sums(), voids.sums(), before.sums(), after.sums(), strict=True))
    found = []
    for number in numbers:
        absent, nothing, early, late = columns[number - numbers[0]]
        day = date.fromordinal(_EPOCH + number)
        rows = days.get(day)
        status: Status = "complete" if rows else "empty"
        if number >= today:
            status = "pending"
        elif absent or early or late:
            status = "open"
        found.append(Certificate(pair, day, status, rows, absent, nothing, before=early > 0, after=late > 0))
    return found


def _calendar(traded: Collection[int], now_us: int) -> list[int]:
    """Return the days to tell of, in order: from the first on which can have been traded, and those of odd times alone.

    A trade stamped in year 1, or in 2102, has a day of its own, but there is nothing to tell of those between.
    """
    today = _number(now_us)
    earliest = _number(EARLIEST_US) if now_us >= EARLIEST_US else 0  # by a clock that is behind there is no telling
    ordinary = [number for number in traded if earliest <= number <= today + AHEAD_DAYS]
    return sorted({*traded, *range(min(ordinary, default=today), max([today, *ordinary]) + 1)})


def _number(time_us: int) -> int:
    """Return the whole days since 1970 of a moment."""
    return time_us // DAY_US


class _Tally:
    """Sums per day, from the first to the last; adding over many days costs what adding to one does."""

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._steps = [0] * (last - first + 2)

    def add(self, count: int, from_us: int | None, until_us: int | None) -> None:
        """Count ``count`` on each day between two moments (µs since 1970); None is an open end."""
        low = self._first if from_us is None else _number(from_us)
        high = self._first + len(self._steps) - 2 if until_us is None else _number(until_us)
        if until_us is not None and from_us is not None:
            low, high = sorted((low, high))  # times can step back a little, and midnight may lie between
        low, high = max(low - self._first, 0), min(high - self._first, len(self._steps) - 2)
        if low <= high:
            self._steps[low] += count
            self._steps[high + 1] -= count

    def sums(self) -> list[int]:
        """Return the sum of each day."""
        return list(accumulate(self._steps[:-1]))
