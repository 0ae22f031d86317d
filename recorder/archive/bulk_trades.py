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
from typing import Final, NamedTuple, TypeAlias

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


class Witness(NamedTuple):
    """The rows of a day in another member than the one they are taken from."""

    source: Source
    first_row: int
    last_row: int


class NewDay(NamedTuple):
    """The rows of a UTC day (counted from 1970) in a member: time, row, price, qty.

    The member has all trades of the time from ``from_us`` until before ``until_us`` (µs since 1970). What another
    archive knows of other members comes with a day: those with ``equal`` rows or a part of them, and those that differ.
    """

    day: int
    rows: pa.Table
    from_us: int
    until_us: int
    equal: tuple[Witness, ...] = ()
    differs: tuple[Witness, ...] = ()


SourcedDay: TypeAlias = tuple[Source, NewDay]
"""A day, and the member that its rows come from."""


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
        return self.put_days(pair, year, ((source, new) for new in days), prefer=prefer)

    def put_days(
        self, pair: str, year: int, days: Iterable[SourcedDay], *, prefer: Prefer | None = None
    ) -> list[Decision]:
        """Add the days of one year, ascending, of any members; return and raise as :meth:`put` does."""
        with self.replacing(pair, year) as (held, write):
            merge = _YearMerge(held, prefer)
            write(merge.rows(days), lambda footer: replace(footer, history=merge.history()))
        return merge.decisions

    def compare_days(self, pair: str, year: int, days: Iterable[SourcedDay]) -> list[Decision]:
        """Return what would become of each day, and change nothing. Raises as :meth:`put` does."""
        merge = _YearMerge(self.file(pair, year), None)
        for _ in merge.rows(days):
            pass
        return merge.decisions


class _YearMerge:
    """Merges the days of a member into those of a year's file, day by day, so that memory holds one of each."""

    def __init__(self, held: FileFacts | None, prefer: Prefer | None) -> None:
        history = (held.footer.history if held is not None else None) or History()
        self.decisions: list[Decision] = []
        self._members = history.members
        self._held = list(reversed(history.days))
        self._file = held
        self._prefer = prefer
        self._days: list[Day] = []

    def history(self) -> History:
        """Return the footer's content for the rows yielded so far."""
        return History(self._members, tuple(self._days))

    def rows(self, days: Iterable[SourcedDay]) -> Iterator[pa.Table]:
        """Yield all rows of the year, ascending in day, and of a day in the order of its member."""
        stored = Taken(imported_files.read(self._file, BULK_TRADES), BULK_TRADES)
        for source, new in days:
            yield from self._before(new.day, stored)
            mine, rows = self._day(source, new), self._named(source, new.rows)
            old = self._held.pop() if self._held and self._held[-1].day == new.day else None
            if old is None:
                self._decide(mine, Outcome.ADDED, mine.rows, 0)
                yield rows
            else:
                yield self._decided(old, stored.take(old.rows), mine, rows)
        yield from self._before(None, stored)

    def _day(self, source: Source, new: NewDay) -> Day:
        """Return a new day as it would be noted."""
        equal, differs = (
            tuple(Seen(self._place(one.source), one.first_row, one.last_row) for one in witnesses)
            for witnesses in (new.equal, new.differs)
        )
        ends, count = _ends(new.rows), new.rows.num_rows
        return Day(new.day, self._place(source), *ends, count, new.from_us, new.until_us, equal, differs)

    def _place(self, source: Source) -> int:
        self._members, place = History(self._members).with_member(source)
        return place

    def _before(self, day: int | None, stored: Taken) -> Iterator[pa.Table]:
        """Yield the stored days before ``day``."""
        while self._held and (day is None or self._held[-1].day < day):
            kept = self._held.pop()
            self._days.append(kept)
            yield stored.take(kept.rows)

    def _decided(self, old: Day, held: pa.Table, mine: Day, rows: pa.Table) -> pa.Table:
        """Decide about a day that is stored and came again; return the rows that count."""
        kept, joined = old.without(mine.member), _joined(old, mine)
        if same(held, rows):
            return self._keep(_covering(kept.noting((mine.own, *mine.equal), mine.differs), joined), held, mine)
        if places := parts_of(rows, held):
            taken = mine.noting(old.equal, old.differs)
            if is_explained(rows, places, held.num_rows, (old.from_us, old.until_us)):
                taken = _covering(taken.noting((old.own,)), _joined(mine, old))
            self._decide(taken.noting(differs=(old.own,)), Outcome.EXTENDED, mine.rows, held.num_rows)
            return rows
        if is_explained(held, parts_of(held, rows), mine.rows, (mine.from_us, mine.until_us)):
            return self._keep(_covering(kept.noting((mine.own, *mine.equal), mine.differs), joined), held, mine)
        if self._prefer is Prefer.NEW:
            # What equalled the stored rows differs from these.
            taken = mine.noting(differs=(*old.differs, old.own, *old.equal))
            self._decide(taken, Outcome.REPLACED, mine.rows, held.num_rows)
            return rows
        outcome = Outcome.DIFFERS if self._prefer is None else Outcome.KEPT
        return self._keep(kept.noting(differs=mine.seen), held, mine, outcome)

    def _keep(self, day: Day, held: pa.Table, mine: Day, outcome: Outcome = Outcome.EQUAL) -> pa.Table:
        self._decide(day, outcome, mine.rows, held.num_rows)
        return held

    def _decide(self, day: Day, outcome: Outcome, rows: int, held: int) -> None:
        self._days.append(day)
        self.decisions.append(Decision(day.day, outcome, rows, held))

    def _named(self, source: Source, rows: pa.Table) -> pa.Table:
        """Return rows of a member with the columns of the table."""
        if "member" not in rows.column_names:
            rows = rows.append_column("member", pa.repeat(pa.scalar(source.short, pa.string()), rows.num_rows))
        return rows.select(BULK_TRADES.columns.names).cast(BULK_TRADES.columns)


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


def _joined(first: Day, other: Day) -> tuple[int, int]:
    """Return the time that both cover together, if that is unbroken, and else that of the first."""
    if max(first.from_us, other.from_us) <= min(first.until_us, other.until_us):
        return min(first.from_us, other.from_us), max(first.until_us, other.until_us)
    return first.from_us, first.until_us


def _covering(day: Day, span: tuple[int, int]) -> Day:
    return msgspec.structs.replace(day, from_us=span[0], until_us=span[1])
