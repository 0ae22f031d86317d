"""Importing members of candles (OHLCVT) into the table ``bulk_ohlc``, year by year, digit by digit as printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.bulk_ohlc import BulkOhlc, NewCandles
from recorder.archive.imported_files import EXAMPLES, Prefer
from recorder.archive.imported_history import History, Source
from recorder.archive.layout import Layout
from recorder.core.disk_limits import require
from recorder.disk import Disk, Room
from recorder.errors import UsageError
from recorder.history.classic_import import BulkResult, source_of
from recorder.history.contents import Entry
from recorder.history.in_order import InOrder, set_apart, times_us
from recorder.history.numbered_rows import OHLCVT, read_ahead
from recorder.kraken.history_files import TIMEFRAMES

_US_PER_MINUTE = 60_000_000


@dataclass(slots=True)
class CandlesResult(BulkResult):
    """What a member of candles had."""

    def differs(self, count: int, first: list[str]) -> None:
        """Report candles that differ from stored ones."""
        self.differing.first += first[: EXAMPLES - len(self.differing.first)]
        self.differing.count += count


class CandleImport:
    """Imports members of the layout ``OHLCVT``. ``possible`` are the times that a row can have (µs since 1970 UTC)."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        *,
        room: Callable[[], Room],
        possible: tuple[int, int],
        prefer: Prefer | None = None,
    ) -> None:
        self._table = BulkOhlc(layout, disk)
        self._room = room
        self._possible = possible
        self._prefer = prefer

    def member(self, entry: Entry, done: Callable[[int], None] = lambda _: None) -> CandlesResult:
        """Import one member; ``done`` is called with the bytes read. Return what it had.

        A member of a ZIP is checked against its checksum before anything of it is stored. Raises UsageError if it
        cannot be read or its name has no known timeframe, UnsoundFile if the pair's stored files cannot be trusted,
        DiskError. The years that were finished until then stay.
        """
        minutes = entry.member.name.minutes or 0
        if minutes not in TIMEFRAMES:
            known = ", ".join(map(str, TIMEFRAMES))
            raise UsageError(
                f"{entry.member} has candles, and its name does not end in their length, as XBTUSD_60.csv does: one of "
                f"{known} minutes"
            )
        source, result = source_of(entry.member), CandlesResult()
        stored = self._table.years(entry.pair)
        for year, rows in self._years(entry, minutes, result, done):
            if year in stored and self._is_settled(stored[year], source, TIMEFRAMES[minutes], result):
                result.compared += rows.num_rows
                continue
            room = self._room()
            require(room.free, room.total, stopped=f"{entry.pair}: stopped before its year {year}")
            found = self._table.put(
                entry.pair, year, source, NewCandles(TIMEFRAMES[minutes], minutes, rows), self._prefer
            )
            result.added += found.added + found.replaced
            result.compared += rows.num_rows - found.added - found.replaced
            if self._prefer is None:
                result.differs(found.differing, found.first)
        return result

    def tidy(self, pair: str) -> None:
        """Do nothing: each year is one file."""

    def _is_settled(self, history: History, source: Source, timeframe: str, result: CandlesResult) -> bool:
        """Return whether nothing of a member is left to be decided in a year; report what differed when it was."""
        place = history.known(source.sha256)
        mine = next((one for one in history.series if (one.timeframe, one.member) == (timeframe, place)), None)
        if mine is None or (mine.differing and self._prefer is Prefer.NEW):
            return False
        if mine.differing and self._prefer is None:
            result.differs(mine.differing, [])
        return True

    def _years(
        self, entry: Entry, minutes: int, result: CandlesResult, done: Callable[[int], None]
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yield the candles of each year, ascending in time and each once."""
        order = InOrder(OHLCVT, self._possible, 0)
        waiting: list[pa.Table] = []
        last_us = -1
        for size, read in read_ahead(entry.member.blocks(), OHLCVT):
            result.saw(read)
            rows, odd = order.add(read)
            for line in odd:
                result.set_aside(line)
            waiting.append(self._each_once(rows, last_us, minutes, result))
            last_us = max([last_us, *times_us(rows)[-1:].tolist()])
            yield from _finished(waiting)
            done(size)
        waiting.append(self._each_once(order.rest(), last_us, minutes, result))
        yield from _finished(waiting, every=True)

    @staticmethod
    def _each_once(rows: pa.Table, last_us: int, minutes: int, result: CandlesResult) -> pa.Table:
        """Return the rows but those that begin when another does, or at no multiple of their length."""
        times = times_us(rows)
        again = np.diff(times, prepend=last_us) <= 0
        between = times % (minutes * _US_PER_MINUTE) != 0
        for wrong, why in ((again, "its interval came before"), (between & ~again, "no interval begins at its time")):
            if wrong.any():
                for line in set_apart(rows.filter(pa.array(wrong)), why):
                    result.set_aside(line)
        return rows.filter(pa.array(~(again | between)))


def _finished(waiting: list[pa.Table], *, every: bool = False) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of years that are over, and leave the others in the list."""
    if not waiting:
        return
    newest = pc.max(waiting[-1]["time"]).as_py()
    oldest = next((rows["time"][0].as_py() for rows in waiting if rows.num_rows), None)
    if oldest is None or (not every and (newest is None or newest.year == oldest.year)):
        return
    rows = pa.concat_tables(waiting)
    years = pc.year(rows["time"])
    waiting.clear()
    for year in sorted(pc.unique(years).to_pylist()):
        of_year = rows.filter(pc.equal(years, year))
        if every or year < newest.year:
            yield year, of_year
        else:
            waiting.append(of_year)
