"""Writing ``bulk_trades``: trades of history files without ids, of which the rows of a UTC day come from one member.

Rows without ids are never merged or de-duplicated: equal rows are common. So the unit is the day. A day that another
member has too is compared, and one of the two is kept. A year of a pair is one file, whose footer says of each day what
was decided. It is replaced as a whole, as a compaction replaces files, so a reader sees either all of the decisions
about a year or none, and an import that was interrupted goes on after the last year with any.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import imported_files
from recorder.archive.datasets import BULK_TRADES
from recorder.archive.imported_files import ImportedTable, Prefer, Taken
from recorder.archive.imported_history import Day, History, Seen, Source
from recorder.archive.parquet import FileFacts
from recorder.core.certificate import DAY_US

_EPOCH: Final = date(1970, 1, 1).toordinal()
_CONTENT: Final = ("time", "price", "qty")


class NewDay(NamedTuple):
    """The rows of a UTC day (counted from 1970) in a member: time, row, price, qty.

    The member has all trades of the time from ``from_us`` until before ``until_us`` (µs since 1970).
    """

    day: int
    rows: pa.Table
    from_us: int
    until_us: int


class Outcome(enum.StrEnum):
    """What became of a day of a member."""

    ADDED = "added"
    """It was not stored yet."""
    EQUAL = "equal"
    """The same rows are stored, or these and others of the time that the member does not cover."""
    EXTENDED = "extended"
    """The member has the stored rows and more, which took their place."""
    DIFFERS = "differs"
    """Neither has the rows of the other: nothing was changed."""
    REPLACED = "replaced"
    """The same, and the member's took the place of the stored ones as requested."""
    KEPT = "kept"
    """The same, and the stored ones remain as requested."""


class Decision(NamedTuple):
    """What became of a day, with the number of its rows in the member and of those stored before."""

    day: int
    outcome: Outcome
    rows: int
    held: int


def year_of(day: int) -> int:
    """Return the year of a day that is counted from 1970."""
    return date.fromordinal(_EPOCH + day).year


def whole_day(day: int) -> tuple[int, int]:
    """Return the limits of a day in µs since 1970 UTC, the second exclusive."""
    return day * DAY_US, (day + 1) * DAY_US


class BulkTrades(ImportedTable):
    """The table ``bulk_trades``, for writing."""

    dataset = BULK_TRADES

    def put(
        self, pair: str, year: int, source: Source, days: Iterable[NewDay], *, prefer: Prefer | None = None
    ) -> list[Decision]:
        """Add the days of one year in a member, ascending; return what became of each, durably.

        Raises UnsoundFile, CorruptFile if the stored file of that year cannot be trusted; DiskError.
        """
        with self.replacing(pair, year) as (held, write):
            merge = _YearMerge(held, source, prefer)
            write(merge.rows(days), lambda footer: replace(footer, history=merge.history()))
        return merge.decisions


class _YearMerge:
    """Merges the days of a member into those of a year's file, day by day, so that memory holds one of each."""

    def __init__(self, held: FileFacts | None, source: Source, prefer: Prefer | None) -> None:
        history = (held.footer.history if held is not None else None) or History()
        self.decisions: list[Decision] = []
        self._members, self._member = history.with_member(source)
        self._held = list(reversed(history.days))
        self._file = held
        self._prefer = prefer
        self._days: list[Day] = []

    def history(self) -> History:
        """Return the footer's content for the rows yielded so far."""
        return History(self._members, tuple(self._days))

    def rows(self, days: Iterable[NewDay]) -> Iterator[pa.Table]:
        """Yield all rows of the year, ascending in day, and of a day in the member's order."""
        stored = Taken(imported_files.read(self._file, BULK_TRADES), BULK_TRADES)
        for new in days:
            yield from self._before(new.day, stored)
            old = self._held.pop() if self._held and self._held[-1].day == new.day else None
            if old is None:
                self._take(new, Outcome.ADDED, 0)
                yield self._named(new.rows)
            else:
                yield self._decided(old, stored.take(old.rows), new)
        yield from self._before(None, stored)

    def _before(self, day: int | None, stored: Taken) -> Iterator[pa.Table]:
        """Yield the stored days before ``day``."""
        while self._held and (day is None or self._held[-1].day < day):
            kept = self._held.pop()
            self._days.append(kept)
            yield stored.take(kept.rows)

    def _decided(self, old: Day, held: pa.Table, new: NewDay) -> pa.Table:
        count = new.rows.num_rows
        seen = Seen(self._member, *_ends(new.rows))
        before = (old.from_us, old.until_us)
        if same(held, new.rows):
            return self._keep(old, held, Outcome.EQUAL, count, equal=seen, span=_joined(before, new))
        if places := parts_of(new.rows, held):
            explained = is_explained(new.rows, places, held.num_rows, before)
            self._take(new, Outcome.EXTENDED, held.num_rows, instead_of=old, explained=explained)
            return self._named(new.rows)
        if is_explained(held, parts_of(held, new.rows), count, (new.from_us, new.until_us)):
            return self._keep(old, held, Outcome.EQUAL, count, equal=seen, span=_joined(before, new))
        if self._prefer is Prefer.NEW:
            self._take(new, Outcome.REPLACED, held.num_rows, instead_of=old)
            return self._named(new.rows)
        outcome = Outcome.DIFFERS if self._prefer is None else Outcome.KEPT
        return self._keep(old, held, outcome, count, differs=seen, span=before)

    def _keep(
        self,
        old: Day,
        rows: pa.Table,
        outcome: Outcome,
        count: int,
        *,
        span: tuple[int, int],
        equal: Seen | None = None,
        differs: Seen | None = None,
    ) -> pa.Table:
        """Keep a stored day, and note the member unless it is known there."""
        equals, others = _without(old.equal, self._member), _without(old.differs, self._member)
        if self._member != old.member:
            equals += () if equal is None else (equal,)
            others += () if differs is None else (differs,)
        self._days.append(msgspec.structs.replace(old, from_us=span[0], until_us=span[1], equal=equals, differs=others))
        self.decisions.append(Decision(old.day, outcome, count, old.rows))
        return rows

    def _take(
        self, new: NewDay, outcome: Outcome, held: int, *, instead_of: Day | None = None, explained: bool = False
    ) -> None:
        """Take the day of the member, instead of a stored one whose rows are a part of it or differ."""
        span, equal, differs = (new.from_us, new.until_us), tuple[Seen, ...](), tuple[Seen, ...]()
        if instead_of is not None:
            old = Seen(instead_of.member, instead_of.first_row, instead_of.last_row)
            equal, differs = _without(instead_of.equal, self._member), _without(instead_of.differs, self._member)
            if outcome is Outcome.REPLACED:  # what equalled the stored rows differs from these
                equal, differs = (), (*differs, old, *equal)
            elif explained:
                equal, span = (*equal, old), _joined((instead_of.from_us, instead_of.until_us), new)
            else:
                differs = (*differs, old)
        first, last = _ends(new.rows)
        count = new.rows.num_rows
        self._days.append(Day(new.day, self._member, first, last, count, *span, equal, differs))
        self.decisions.append(Decision(new.day, outcome, count, held))

    def _named(self, rows: pa.Table) -> pa.Table:
        """Return rows of the member with the columns of the table."""
        member = pa.repeat(pa.scalar(self._members[self._member].short, pa.string()), rows.num_rows)
        return rows.append_column("member", member).select(BULK_TRADES.columns.names).cast(BULK_TRADES.columns)


def same(one: pa.Table, other: pa.Table) -> bool:
    """Return whether both have the same trades in the same order."""
    return one.num_rows == other.num_rows and bool(_content(one).equals(_content(other)))


def parts_of(whole: pa.Table, part: pa.Table) -> list[int]:
    """Return where ``part``, fewer rows, stands in ``whole`` unbroken and in the same order."""
    count = part.num_rows
    if count >= whole.num_rows:
        return []
    if not count:
        return [0]
    whole, part = _content(whole), _content(part)
    first = {name: part[name][0] for name in _CONTENT}
    begins = pc.and_(
        pc.equal(whole["time"], first["time"]),
        pc.and_(pc.equal(whole["price"], first["price"]), pc.equal(whole["qty"], first["qty"])),
    )
    # Few rows are candidates: those of one second with equal price and quantity.
    places: Sequence[int] = pc.indices_nonzero(begins).to_pylist()
    return [at for at in places if whole.slice(at, count).equals(part)]


def is_explained(whole: pa.Table, places: Sequence[int], count: int, span: tuple[int, int]) -> bool:
    """Return whether the part may be all that its member has of ``whole``, because of the ``span`` that it covers.

    That is so if the ``count`` rows from one of these places on are all rows of the span.
    """
    times = whole["time"].cast(pa.int64()).to_numpy()
    within = (times >= span[0]) & (times < span[1])
    return any(not within[:at].any() and not within[at + count :].any() for at in places)


def _content(rows: pa.Table) -> pa.Table:
    # Without what a schema says beside the types, such as whether there may be nulls, which would be compared too.
    return pa.table({name: rows[name] for name in _CONTENT}).combine_chunks()


def _ends(rows: pa.Table) -> tuple[int, int]:
    """Return the first and the last row of a day in its member; (1, 0) if there is none."""
    return (rows["row"][0].as_py(), rows["row"][-1].as_py()) if rows.num_rows else (1, 0)


def _joined(before: tuple[int, int], new: NewDay) -> tuple[int, int]:
    """Return the time that both cover together, if that is unbroken, and else that of the first."""
    if max(before[0], new.from_us) <= min(before[1], new.until_us):
        return min(before[0], new.from_us), max(before[1], new.until_us)
    return before


def _without(seen: tuple[Seen, ...], member: int) -> tuple[Seen, ...]:
    return tuple(one for one in seen if one.member != member)
