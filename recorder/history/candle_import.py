"""Importing members of candles (OHLCVT) into the table ``bulk_ohlc``, year by year, digit by digit as printed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recorder.archive.bulk_ohlc import BulkOhlc, NewCandles
from recorder.archive.imported_files import EXAMPLES, Prefer
from recorder.archive.imported_history import History, Source
from recorder.archive.trades import tables_by_year
from recorder.errors import UsageError
from recorder.history.bulk_import import BulkImport, BulkResult, source_of
from recorder.history.contents import Entry
from recorder.history.in_order import InOrder, set_apart, times_us
from recorder.history.members import Digest
from recorder.history.numbered_rows import OHLCVT, Odd, read_ahead
from recorder.history.odd_lines import OddLines
from recorder.history.results import MemberResult
from recorder.kraken.history_files import TIMEFRAMES

_US_PER_MINUTE: Final = 60_000_000


@dataclass(slots=True)
class CandlesResult(BulkResult):
    """What a member of candles had, by year."""

    years: list[int] = field(default_factory=list)
    timeframe: str = ""

    def detail(self) -> dict[str, Any]:
        """Return what the event ``imported`` says of it."""
        return {**MemberResult.detail(self), "timeframe": self.timeframe, "years": self.years}

    def differs(self, count: int, first: list[str]) -> None:
        """Report candles that differ from stored ones."""
        self.differing.first += first[: EXAMPLES - len(self.differing.first)]
        self.differing.count += count


class CandleImport:
    """Imports members of the layout ``OHLCVT``."""

    def __init__(self, bulk: BulkImport) -> None:
        self._bulk = bulk
        self._table = BulkOhlc(bulk.archive.layout, bulk.archive.disk)

    def member(self, entry: Entry, digest: Digest, done: Callable[[int], None]) -> CandlesResult:
        """Import one member; ``done`` is called with the bytes read. Return what it had.

        Raises UsageError if it cannot be read or its name has no known length, UnsoundFile, UnreadableFile or
        UnknownVersion if the pair's stored files cannot be trusted, DiskError. The years that were finished until then
        stay.
        """
        minutes = entry.member.name.minutes or 0
        if minutes not in TIMEFRAMES:
            known = ", ".join(map(str, TIMEFRAMES))
            raise UsageError(
                f"{entry.member} has candles, and its name does not end in their length, as XBTUSD_60.csv does: one of "
                f"{known} minutes"
            )
        source, result = source_of(entry.member, digest), CandlesResult()
        stored = self._table.years(entry.pair)
        result.timeframe = TIMEFRAMES[minutes]
        parts = self._parts(entry, minutes, result, done)
        for year, of_year in itertools.groupby(parts, lambda part: part[0]):
            result.years.append(year)
            if year in stored and self._is_settled(stored[year], source, TIMEFRAMES[minutes], result):
                result.compared += sum(rows.num_rows for _, rows in of_year)
                continue
            self._bulk.require_room(entry.pair, year)
            candles = NewCandles(TIMEFRAMES[minutes], minutes, (rows for _, rows in of_year))
            found = self._table.put(entry.pair, year, source, candles, self._bulk.prefer)
            result.added += found.added + found.replaced
            result.compared += found.rows - found.added - found.replaced
            if self._bulk.prefer is None:
                result.differs(found.differing, found.first)
        return result

    def holds(self, pair: str, detail: Mapping[str, Any]) -> bool:
        """Return whether all years of a member were taken into account, and nothing is left to the user."""
        years, sha256 = detail.get("years"), str(detail.get("sha256"))
        if not isinstance(years, list):
            return False
        stored = self._table.years(pair)
        found = [stored[year].series_of(sha256, str(detail.get("timeframe"))) for year in years if year in stored]
        known = [one for one in found if one is not None]
        undecided = self._bulk.prefer is not Prefer.HELD and any(one.differing for one in known)
        return len(known) == len(years) and not undecided

    def tidy(self, pair: str) -> None:
        """Do nothing: each year is one file."""

    def _is_settled(self, history: History, source: Source, timeframe: str, result: CandlesResult) -> bool:
        """Return whether nothing of a member is left to be decided in a year; report what differed when it was."""
        mine = history.series_of(source.sha256, timeframe)
        if mine is None or (mine.differing and self._bulk.prefer is Prefer.NEW):
            return False
        if mine.differing and self._bulk.prefer is None:
            result.differs(mine.differing, [])
        return True

    def _parts(
        self, entry: Entry, minutes: int, result: CandlesResult, done: Callable[[int], None]
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yield the candles, ascending in time and each once, in tables with their year."""
        order, lines = InOrder(OHLCVT, self._bulk.possible, 0), OddLines(self._bulk.archive, entry)
        last_us = -1

        def each_once(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
            nonlocal last_us
            rows, odd = _each_once(rows, last_us, minutes)
            lines.add_placed(map(_placed, odd), result.odd)
            last_us = max([last_us, *times_us(rows)[-1:].tolist()])
            yield from tables_by_year(rows)

        for size, read in read_ahead(entry.member.blocks(), OHLCVT):
            result.saw(read)
            rows, odd = order.add(read)
            lines.add_placed(map(_placed, odd), result.odd)
            yield from each_once(rows)
            done(size)
        yield from each_once(order.rest())


def _each_once(rows: pa.Table, last_us: int, minutes: int) -> tuple[pa.Table, list[Odd]]:
    """Return the rows but those that begin when another does, or at no multiple of their length, and these."""
    times = times_us(rows)
    again = np.diff(times, prepend=last_us) <= 0
    between = (times % (minutes * _US_PER_MINUTE) != 0) & ~again
    odd = [
        line
        for wrong, why in ((again, "its interval came before"), (between, "no interval begins at its time"))
        for line in set_apart(rows.filter(pa.array(wrong)), why)
    ]
    return rows.filter(pa.array(~(again | between))), odd


def _placed(odd: Odd) -> tuple[int, bytes, str]:
    return odd.row, odd.line.encode(), odd.why
