"""What a merge brings of history files: the days of trades without ids, candles, and that ids above them are wanted.

Days and candles come with what proves them: the SHA-256 of their member, and its rows. They are decided about as in an
import: what is stored already is compared, and the member that another archive has is noted as one more witness. A day
of which the other archive has more takes the place of the stored one. Where neither has the rows of the other, nothing
is changed, and the owner decides by importing the file with ``--prefer``.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar, Final

from recorder.archive import verify_tables
from recorder.archive.bulk_ohlc import BulkOhlc
from recorder.archive.bulk_trades import BulkTrades, NewDay, Outcome, SourcedDay, Witness
from recorder.archive.datasets import BULK_OHLC, BULK_TRADES, Branch, Dataset
from recorder.archive.imported_files import EXAMPLES, ImportedTable, Taken, read_opened
from recorder.archive.imported_history import History, Seen
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout, period_of
from recorder.archive.parquet import SET_APART, OpenFile
from recorder.core.disk_limits import require
from recorder.disk import Disk, Room

_EPOCH: Final = date(1970, 1, 1).toordinal()
_DECIDE: Final = "importing its history file with --prefer held or --prefer new decides"


@dataclass(slots=True)
class Brought:
    """What came of one table: how many rows were added, and what was left out."""

    dataset: Dataset
    added: int = 0
    findings: list[Finding] = field(default_factory=list)

    def left(self, file: OpenFile, what: str, first: Sequence[str]) -> None:
        """Report what differs from stored rows, with the first examples if there are any."""
        examples = f" ({'; '.join(first)})" if first else ""
        self.findings.append(Finding(file.path, f"differs from what is stored here in {what}{examples}", _DECIDE))


def tables(ours: Layout, theirs: Layout, disk: Disk | None, *, room: Callable[[], Room]) -> Iterator[Brought]:
    """Add what the imported tables of the archive ``theirs`` have, or only count it without a ``disk``.

    ``room`` measures our disk before each file is written: if space is low, DiskError states how many rows were added.
    Years that were finished until then stay.
    """
    for merge in (_Trades(ours, disk), _Candles(ours, disk)):
        yield merge.table(theirs, room)


class _Merge(ABC):
    """Merges one table, year by year."""

    dataset: ClassVar[Dataset]

    def __init__(self, disk: Disk | None) -> None:
        self._writes = disk is not None

    def table(self, theirs: Layout, room: Callable[[], Room]) -> Brought:
        brought = Brought(self.dataset)
        for branch in theirs.branches(self.dataset):
            for leaf in theirs.leaves(branch):
                with contextlib.ExitStack() as stack:
                    files, unsound = verify_tables.opened(leaf, branch, stack)
                    brought.findings += unsound
                    for file in files:
                        self._file(branch, int(period_of(leaf) or 0), file, brought, room)
        return brought

    def _file(self, branch: Branch, year: int, file: OpenFile, brought: Brought, room: Callable[[], Room]) -> None:
        if self._writes:
            found = room()
            name = f"{self.dataset.name} {branch.value}"
            require(found.free, found.total, stopped=f"{name}: stopped with {brought.added:,} rows added")
        try:
            self._year(str(branch.pair), year, file, file.footer.history or History(), brought)
        except SET_APART as error:
            brought.findings.append(Finding.of(error))

    @abstractmethod
    def _year(self, pair: str, year: int, file: OpenFile, theirs: History, brought: Brought) -> None:
        """Merge a year. Raises UnsoundFile, UnreadableFile, UnknownVersion, DiskError; then nothing has changed."""


class _Trades(_Merge):
    """Merges days of trades without ids."""

    dataset = BULK_TRADES

    def __init__(self, ours: Layout, disk: Disk | None) -> None:
        super().__init__(disk)
        self._table = BulkTrades(ours, disk or Disk())

    def _year(self, pair: str, year: int, file: OpenFile, theirs: History, brought: Brought) -> None:
        ours = _history(self._table, pair, year)
        held = {day.day: (day, _members(ours, day.seen)) for day in ours.days}
        new = {
            day.day for day in theirs.days if day.day not in held or not _members(theirs, day.seen) <= held[day.day][1]
        }
        differing = [
            (day, held[day.day][0].rows)
            for day in theirs.days
            if day.day not in new and theirs.members[day.member].sha256 in _members(ours, held[day.day][0].differs)
        ]
        if new:
            put = self._table.put_days if self._writes else self._table.compare_days
            days = {day.day: day for day in theirs.days}
            for one in put(pair, year, (day for day in _days(file, theirs) if day[1].day in new)):
                if one.outcome in {Outcome.ADDED, Outcome.EXTENDED}:
                    brought.added += one.rows - one.held
                elif one.outcome is Outcome.DIFFERS:
                    differing.append((days[one.day], one.held))
        if differing:
            first = [
                f"{date.fromordinal(_EPOCH + day.day)}: {day.rows:,} rows there, {rows:,} here"
                for day, rows in sorted(differing, key=lambda one: one[0].day)[:EXAMPLES]
            ]
            brought.left(file, f"{len(differing):,} of {len(theirs.days):,} days of {pair}", first)


class _Candles(_Merge):
    """Merges candles of history files."""

    dataset = BULK_OHLC

    def __init__(self, ours: Layout, disk: Disk | None) -> None:
        super().__init__(disk)
        self._table = BulkOhlc(ours, disk or Disk())

    def _year(self, pair: str, year: int, file: OpenFile, theirs: History, brought: Brought) -> None:
        ours = _history(self._table, pair, year)
        keys = [(theirs.members[one.member].sha256, one.timeframe) for one in theirs.series]
        known = [ours.series_of(*key) for key in keys]
        first = list[str]()
        if all(one is not None for one in known):
            differing = sum(one.differing for one in known if one is not None)
        else:
            put = self._table.put_series if self._writes else self._table.compare_series
            found = put(pair, year, theirs, read_opened(file, BULK_OHLC))
            brought.added += found.added
            differing, first = found.differing, found.first
        if differing:
            brought.left(file, f"{differing:,} of {file.rows:,} candles of {pair}", first)


def _history(table: ImportedTable, pair: str, year: int) -> History:
    held = table.file(pair, year)
    return (held.footer.history if held is not None else None) or History()


def _members(history: History, seen: Sequence[Seen]) -> set[str]:
    return {history.members[one.member].sha256 for one in seen}


def _days(file: OpenFile, history: History) -> Iterator[SourcedDay]:
    """Yield the days of a file, whose rows were compared with its footer when it was opened."""

    def witnesses(seen: Sequence[Seen]) -> tuple[Witness, ...]:
        return tuple(Witness(history.members[one.member], one.first_row, one.last_row) for one in seen)

    stored = Taken(read_opened(file, BULK_TRADES), BULK_TRADES)
    for day in history.days:
        rows, source = stored.take(day.rows), history.members[day.member]
        yield source, NewDay(day.day, rows, day.from_us, day.until_us, witnesses(day.equal), witnesses(day.differs))
