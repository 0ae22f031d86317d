"""Importing members of the older layout, without ids, into the table ``bulk_trades``, year by year.

A member is read once for its checksums and once for its rows. What was decided about each of its days stands in the
footers of the table, by the SHA-256 of its content: that makes an import exact, and tells the next one where to go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from recorder.archive.bulk_trades import BulkTrades, Decision, NewDay, Outcome, year_of
from recorder.archive.imported_files import Prefer
from recorder.archive.imported_history import History, Source
from recorder.history.bulk_import import BulkImport, BulkResult, source_of
from recorder.history.contents import Entry
from recorder.history.days import Days
from recorder.history.members import Digest
from recorder.history.numbered_rows import CLASSIC, Odd, read_ahead
from recorder.history.odd_lines import OddLines
from recorder.history.results import MemberResult

_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(slots=True)
class ClassicResult(BulkResult):
    """What a member of trades without ids had; ``days`` counts its days by what became of them."""

    days: dict[str, int] = field(default_factory=dict)

    def detail(self) -> dict[str, Any]:
        """Return what the event ``imported`` says of it."""
        return {**MemberResult.detail(self), "days": self.days}

    def counted(self, what: str) -> None:
        """Count a day."""
        self.days[what] = self.days.get(what, 0) + 1

    def decided(self, one: Decision) -> None:
        """Count a day, and its rows."""
        self.counted(one.outcome.value)
        if one.outcome in {Outcome.ADDED, Outcome.EXTENDED, Outcome.REPLACED}:
            self.added += one.rows
        else:
            self.compared += one.rows
        if one.outcome is Outcome.DIFFERS:
            self.differs(one.day, f"{one.rows:,} rows here, {one.held:,} stored")

    def differs(self, day: int, how: str) -> None:
        """Report a day whose rows differ from the stored ones."""
        self.differing.add(f"{date.fromordinal(_EPOCH + day)}: {how}; --prefer new takes these, --prefer held those")


class ClassicImport:
    """Imports members of the layout ``CLASSIC``."""

    def __init__(self, bulk: BulkImport) -> None:
        self._bulk = bulk
        self._table = BulkTrades(bulk.archive.layout, bulk.archive.disk)

    def member(self, entry: Entry, digest: Digest, done: Callable[[int], None]) -> ClassicResult:
        """Import one member; ``done`` is called with the bytes read. Return what it had.

        Raises UsageError if it cannot be read, UnsoundFile, UnreadableFile or UnknownVersion if the pair's stored files
        cannot be trusted, DiskError. The years that were finished until then stay.
        """
        source, result = source_of(entry.member, digest), ClassicResult()
        stored = self._table.years(entry.pair)
        settled = [year for year, history in stored.items() if self._is_settled(history, source)]
        for year in settled:
            self._count(stored[year], source, result)
        days = self._days(entry, _settled_rows(stored, settled, source), result, done)
        for year, of_year in itertools.groupby(days, lambda new: year_of(new.day)):
            if year not in settled:
                self._bulk.require_room(entry.pair, year)
                for decision in self._table.put(entry.pair, year, source, of_year, prefer=self._bulk.prefer):
                    result.decided(decision)
        return result

    def holds(self, pair: str, detail: Mapping[str, Any]) -> bool:
        """Return whether all days of a member are decided, and none of them is left to the user."""
        days, sha256 = detail.get("days"), str(detail.get("sha256"))
        if not isinstance(days, dict):
            return False
        seen = [one in day.differs for year in self._table.years(pair).values() for day, one in year.days_of(sha256)]
        return len(seen) == sum(days.values()) and (self._bulk.prefer is Prefer.HELD or not any(seen))

    def tidy(self, pair: str) -> None:
        """Do nothing: each year is one file."""

    def _is_settled(self, history: History, source: Source) -> bool:
        """Return whether nothing of a member is left to be decided in a year."""
        seen = list(history.days_of(source.sha256))
        return bool(seen) and not (self._bulk.prefer is Prefer.NEW and any(one in day.differs for day, one in seen))

    def _count(self, history: History, source: Source, result: ClassicResult) -> None:
        """Report what was decided earlier."""
        for day, seen in history.days_of(source.sha256):
            count = seen.last_row - seen.first_row + 1
            result.compared += count
            result.counted("stored before")
            if seen in day.differs and self._bulk.prefer is None:
                result.differs(day.day, f"some {count:,} rows here, {day.rows:,} stored")

    def _days(
        self,
        entry: Entry,
        skipped: int,
        result: ClassicResult,
        done: Callable[[int], None],
    ) -> Iterator[NewDay]:
        lines = OddLines(self._bulk.archive, entry)

        def set_aside(odd: Sequence[Odd]) -> None:
            lines.add_placed(((one.row, one.line.encode(), one.why) for one in odd), result.odd)

        found = Days(self._bulk.possible, set_aside)
        for size, read in read_ahead(entry.member.blocks(), CLASSIC, skipped):
            result.saw(read)
            yield from found.add(read)
            done(size)
        yield from found.rest()


def _settled_rows(stored: Mapping[int, History], settled: list[int], source: Source) -> int:
    """Return the number of rows at the beginning of a member that are all of settled years.

    Times step back by an hour at most, so the rows of the next year come after all rows up to 30 December.
    """
    rows, end = 0, 0
    for year in sorted(settled):
        held = [(day.day, seen) for day, seen in stored[year].days_of(source.sha256) if seen.first_row <= seen.last_row]
        if not held or min(seen.first_row for _, seen in held) > end + 1:
            break  # a year in between is not stored, or was moved away
        end = max(seen.last_row for _, seen in held)
        new_years_eve = date(year, 12, 31).toordinal() - _EPOCH
        rows = max([rows, *(seen.first_row - 1 for day, seen in held if day < new_years_eve)])
    return rows
