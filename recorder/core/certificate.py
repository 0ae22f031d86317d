"""Certificates: what can be proven of each UTC day of a pair, from ids, times and the exchange's answers.

Contains the proof; reads nothing itself. It rests on one rule of the exchange: trades are numbered in the order in
which they are made. So ids missing between two stored trades were made between their times, ids below the first stored
trade were made before it, and ids above the last one after it, or after the time until which the exchange has confirmed
that none came.

A day is proven when no trade on it can have an id that is not stored, void or disowned. Equivalently: every id from the
last trade before the day to the first one after it is stored, void or disowned, or a confirmation reaches beyond the
end of the day.

A promise covers all trades from one time on; its anchor is the highest id made before that time. The UTC day of that
time is never proven as a whole: it is partial. A day before it is history, proven only once its ids join the promise:
every id from the day up to the anchor is stored, void or disowned. While a promise has no anchor, its first trades are
unknown, and all days up to the first stored trade are open. Where no promise was recorded, in an older archive or in
merged rows, the lowest stored id is assumed to be the beginning, unless the ids are known down to 1, so that nothing is
before them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from recorder.core.absent_ids import NOTHING, AbsentIds
from recorder.core.certified_days import is_as_certified, latest, number_of
from recorder.core.evidence import Certified, Confirmed, Promise
from recorder.core.gaps import Gaps
from recorder.core.plausibility import EARLIEST_US
from recorder.core.trade_ids import Run, Span, Spans

Status = Literal["complete", "partial", "open", "empty", "pending", "unknown"]
"""``complete``: has trades, and no other can be missing. ``empty``: proven to have none. ``partial``: would be complete
or empty, but the promise begins on this day and does not cover the time before. ``open``: not proven. ``pending``: not
over yet. ``unknown``: the exchange has renumbered the pair, so that stored and new trades cannot be compared."""

DAY_US: Final = 86_400_000_000
AHEAD_DAYS: Final = 366
"""Days after today that are listed one by one, and up to which times are accepted: the clock may be behind."""
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class DayRows:
    """The stored trades of one day: their number, and ids and times of the first and last (µs since 1970 UTC).

    ``sha256`` is the hash of the canonical rows (docs/format.md), if they were read.
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

    ``missing`` ids are between stored ones and may belong to the day; so may ``void`` ids, which do not exist,
    ``disowned`` ids, which the owner released, and ``unreadable`` ids, whose rows cannot be read. Ids around midnight
    count on both days. ``before`` and ``after``: the day may have an unknown number of trades before the first or after
    the last stored id. ``unjoined``: ids may be missing between this day, which is before the promise, and the promise.
    ``promised_us`` is the time of the promise (µs since 1970 UTC), on its day. ``certified`` is what the day contained
    when it was proven before, and ``unlike`` is whether it no longer contains that.
    """

    pair: str
    day: date
    status: Status
    held: DayRows | None
    missing: int
    void: int
    before: bool
    after: bool
    unjoined: bool = False
    promised_us: int | None = None
    disowned: int = 0
    unreadable: int = 0
    certified: Certified | None = None
    unlike: bool = False

    def lacks(self, history_from: date | None = None) -> bool:
        """Return whether wanted trades are missing: ids between stored ones, certified ids, or wanted history.

        ``history_from`` is the first day of wanted history (``date.min`` for all there is), None for none. Trades that
        may have come after the last stored id are still to be fetched by the recorder and no fault of the archive, and
        today is not over.
        """
        over = self.status != "pending"
        history = self.before and history_from is not None and history_from < self.day
        lost = self.missing + self.unreadable > 0 or self.unlike
        return history or (over and (lost or (self.before and history_from == self.day)))


def utc_day(time_us: int) -> date:
    """Return the UTC day of a time in µs since 1970."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).date()


def certificates(
    pair: str,
    held: Iterable[Run],
    days: Mapping[date, DayRows],
    *,
    now_us: int,
    absent: AbsentIds = NOTHING,
    confirmed: Iterable[Confirmed] = (),
    promise: Promise | None = None,
    certified: Iterable[Certified] = (),
    unknown_from_us: int | None = None,
) -> list[Certificate]:
    """Return the certificates of all days from the first promised, stored or certified one to today, oldest first.

    The list is empty if nothing is stored, promised or certified. A trade with an impossible time gets a day of its
    own, without the days between.

    ``held`` are disjoint runs of ids, in any order; ``days`` the stored trades of each day. Stored beats absent, and a
    confirmation that a stored trade refutes is ignored. A ``certified`` day is trusted at whatever revision: all its
    ids exist, and no others can have been made on it except those that are missing now. From the day of
    ``unknown_from_us`` on nothing is certified: the exchange has renumbered the pair.
    """
    certified = list(certified)
    known = latest(certified)
    ids = Spans(Span(one.first_id, one.last_id) for one in certified)
    gaps = Gaps(pair, held, absent, confirmed, promise, certified=ids)
    promise = promise or _assumed(gaps)
    begins_us = [run.first_us for run in gaps.runs[:1]] + ([] if promise is None else [promise.time_us])
    if not begins_us and not known:
        return []
    today = _number(now_us)
    numbers = _calendar({*map(_number, begins_us), *map(number_of, [*days, *known])}, now_us)
    found = []
    for number, counts in zip(numbers, _counted(gaps, promise, numbers, now_us), strict=True):
        day = date.fromordinal(_EPOCH + number)
        rows, before = days.get(day), known.get(day)
        unlike = before is not None and not _is_as_certified(before, rows, absent)
        status: Status = "complete" if rows or before else "empty"
        promised = promise is not None and number == _number(promise.time_us)
        if unknown_from_us is not None and number >= _number(unknown_from_us):
            status = "unknown"
        elif number >= today:
            status = "pending"
        elif unlike or counts.missing + counts.unreadable or (before is None and counts.stand_open(promise)):
            status = "open"
        elif promise is not None and promised and not promise.starts_at_first_trade:
            status = "partial"
        found.append(
            Certificate(
                pair,
                day,
                status,
                rows,
                counts.missing,
                counts.void,
                before=counts.before > 0,
                after=counts.after > 0,
                unjoined=counts.unjoined > 0,
                promised_us=promise.time_us if promise is not None and promised else None,
                disowned=counts.disowned,
                unreadable=counts.unreadable,
                certified=before,
                unlike=unlike,
            )
        )
    return found


def _is_as_certified(before: Certified, held: DayRows | None, absent: AbsentIds) -> bool:
    let_go = Spans(absent.disowned.within(Span(before.first_id, before.last_id))).count()
    if held is None:
        return is_as_certified(before, rows=0, ends=None, sha256=None, let_go=let_go)
    ends = held.first_id, held.last_id
    return is_as_certified(before, rows=held.rows, ends=ends, sha256=held.sha256, let_go=let_go)


def _assumed(gaps: Gaps) -> Promise | None:
    """Return the promise assumed where none was recorded; None if nothing, or everything from id 1, is stored."""
    if not gaps.runs or not gaps.before():
        return None
    lowest = gaps.runs[0]
    return Promise(lowest.first_us, lowest.span.first - 1, assumed=True)


class _Counts(NamedTuple):
    """Counts of the ids that may belong to one day, by state, and of gaps before it, after it, or to the anchor."""

    missing: int
    void: int
    disowned: int
    unreadable: int
    before: int
    after: int
    unjoined: int

    def stand_open(self, promise: Promise | None) -> bool:
        """Return whether trades that are promised, or missing from history, may have been made on the day."""
        nameless = promise is not None and promise.after_id is None and self.before > 0
        return self.missing + self.unreadable + self.after + self.unjoined > 0 or nameless


def _counted(gaps: Gaps, promise: Promise | None, numbers: Sequence[int], now_us: int) -> list[_Counts]:
    """Return the counts of each of these days, given in order."""
    tallies = [_Tally(numbers, _ordinary(now_us)) for _ in _Counts._fields]
    missing, void, disowned, unreadable, before, after, unjoined = tallies
    of_state = {"void": void, "disowned": disowned, "unreadable": unreadable}
    history, between = gaps.before(), gaps.between()
    for gap in history:
        before.add(1, gaps.from_us(gap), gap.before_us)
    for gap in gaps.after():
        after.add(1, gaps.from_us(gap), None)
    for gap in between:
        missing.add(len(gap.span), gaps.from_us(gap), gap.before_us)
    for gap in gaps.absent():
        of_state[gap.state].add(len(gap.span), gap.after_us, gap.before_us)
    if promise is not None:
        promised = _number(promise.time_us)
        if promise.after_id is None:
            unjoined.add(1, None, None, before=promised)
        for gap in [*history, *between]:
            if promise.after_id is not None and gap.span.first <= promise.after_id:
                unjoined.add(1, None, gap.before_us, before=promised)
    return list(map(_Counts, *(tally.sums() for tally in tallies)))


def _calendar(traded: Collection[int], now_us: int) -> list[int]:
    """Return the days to certify, in order: all from the first plausible one, and each with an implausible time.

    A trade stamped in year 1, or in 2102, has a day of its own, but the days between are left out.
    """
    today, known = _number(now_us), _ordinary(now_us)
    ordinary = [number for number in traded if number in known]
    return sorted({*traded, *range(min(ordinary, default=today), max([today, *ordinary]) + 1)})


def _ordinary(now_us: int) -> range:
    """Return the days on which trades can have been made, by a clock that may be behind."""
    earliest = _number(EARLIEST_US) if now_us >= EARLIEST_US else 0  # a clock that is far behind gives no bound
    return range(earliest, _number(now_us) + AHEAD_DAYS + 1)


def _number(time_us: int) -> int:
    """Return the number of whole days from 1970 to a time."""
    return time_us // DAY_US


class _Tally:
    """Sums per listed day, given in order; adding over many days costs the same as adding to one.

    A time on none of the ``believed`` days is no bound: ids beside a trade with an implausible time can have been made
    on any day that the other side allows.
    """

    def __init__(self, numbers: Sequence[int], believed: range) -> None:
        self._numbers = numbers
        self._believed = believed
        self._steps = [0] * (len(numbers) + 1)

    def add(self, count: int, from_us: int | None, until_us: int | None, *, before: int | None = None) -> None:
        """Add ``count`` to each day between two times (µs since 1970), and before a day; None is an open end."""
        begins, ends = self._day(from_us), self._day(until_us)
        if begins is not None and ends is not None:
            begins, ends = sorted((begins, ends))  # times can step back a little, and midnight may be between
        low = 0 if begins is None else bisect_left(self._numbers, begins)
        high = len(self._numbers) if ends is None else bisect_right(self._numbers, ends)
        high = high if before is None else min(high, bisect_left(self._numbers, before))
        if low < high:
            self._steps[low] += count
            self._steps[high] -= count

    def _day(self, moment_us: int | None) -> int | None:
        number = None if moment_us is None else _number(moment_us)
        return number if number in self._believed else None

    def sums(self) -> list[int]:
        """Return the sum of each day, in order."""
        return list(accumulate(self._steps[:-1]))
