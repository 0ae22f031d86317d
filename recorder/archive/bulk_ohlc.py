"""Writing ``bulk_ohlc``: candles of history files, digit by digit as they were printed.

Each candle stands by itself: one that is stored is compared, and kept unless the caller prefers the new one. As in
:mod:`recorder.archive.bulk_trades`, a year of a pair is one file that is replaced as a whole. Its footer says for each
timeframe which members were taken into account.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import imported_files
from recorder.archive.datasets import BULK_OHLC
from recorder.archive.imported_files import ImportedTable, Prefer
from recorder.archive.imported_history import History, Series, Source
from recorder.archive.parquet import FileFacts

_CONTENT: Final = ("open", "high", "low", "close", "volume", "count")
_US_PER_MINUTE: Final = 60_000_000


class NewCandles(NamedTuple):
    """The candles of a timeframe and year in a member, ascending in time, each once: time, the numbers, row."""

    timeframe: str
    minutes: int
    rows: pa.Table


class CandlesPut(NamedTuple):
    """How many candles were new, replaced stored ones, and differ from stored ones; the first of these as text."""

    added: int
    replaced: int
    differing: int
    first: list[str]


class BulkOhlc(ImportedTable):
    """The table ``bulk_ohlc``, for writing."""

    dataset = BULK_OHLC

    def put(self, pair: str, year: int, source: Source, candles: NewCandles, prefer: Prefer | None) -> CandlesPut:
        """Add candles, durably. Raises UnsoundFile, CorruptFile if the stored file cannot be trusted; DiskError."""
        rows, begins = candles.rows, candles.rows["time"].cast(pa.int64())
        for name, value in (("timeframe", candles.timeframe), ("member", source.short)):
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), rows.num_rows))
        ends_us = pc.min(begins).as_py(), pc.max(begins).as_py() + candles.minutes * _US_PER_MINUTE
        series = Series(candles.timeframe, 0, rows.num_rows, 0, *ends_us)
        return self.put_series(pair, year, History((source,), series=(series,)), [rows], prefer)

    def put_series(
        self, pair: str, year: int, history: History, rows: Iterable[pa.Table], prefer: Prefer | None = None
    ) -> CandlesPut:
        """Add the candles that another file of the year has, in its order, and its ``history``, durably.

        Raises as :meth:`put` does.
        """
        with self.replacing(pair, year) as (held, write):
            merge = _Merge(held, history, prefer)
            write(merge.rows(rows), lambda footer: replace(footer, history=merge.history()))
        return merge.put

    def compare_series(self, pair: str, year: int, history: History, rows: Iterable[pa.Table]) -> CandlesPut:
        """Return what would become of such candles, and change nothing. Raises as :meth:`put` does."""
        merge = _Merge(self.file(pair, year), history, None)
        for _ in merge.rows(rows):
            pass
        return merge.put


class _Merge:
    """Merges candles into a year's file, timeframe by timeframe; those of other timeframes pass through."""

    def __init__(self, held: FileFacts | None, new: History, prefer: Prefer | None) -> None:
        self._before = (held.footer.history if held is not None else None) or History()
        self._new = new
        self._held = held
        self._prefer = prefer
        self._stored = Counter[tuple[str, str]]()
        self._differing = Counter[tuple[str, str]]()
        self.put = CandlesPut(0, 0, 0, [])

    def rows(self, new: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield all rows of the year, by timeframe and time."""
        for name, held, fresh in _by_timeframe(imported_files.read(self._held, BULK_OHLC), new):
            rows = self._merged(name, held, fresh.select(BULK_OHLC.columns.names).cast(BULK_OHLC.columns))
            self._stored.update(_by_member(name, rows))
            yield rows

    def history(self) -> History:
        """Return the footer's content."""
        members, places = self._before.members, list[int]()
        for source in self._new.members:
            members, place = History(members).with_member(source)
            places.append(place)
        found = {(one.timeframe, one.member): one for one in self._before.series}
        for one in self._new.series:
            mine = msgspec.structs.replace(one, member=places[one.member])
            known = found.get((mine.timeframe, mine.member))
            found[mine.timeframe, mine.member] = mine if known is None else known.again(mine)
        series = [
            msgspec.structs.replace(
                one,
                stored=self._stored[one.timeframe, members[one.member].short],
                differing=one.differing + self._differing[one.timeframe, members[one.member].short],
            )
            for one in found.values()
        ]
        return History(members, series=tuple(sorted(series, key=lambda one: (one.timeframe, one.from_us, one.member))))

    def _merged(self, timeframe: str, held: pa.Table, new: pa.Table) -> pa.Table:
        if not new.num_rows:
            return held
        at, common = _places(_times(held), _times(new))
        differs = np.zeros(new.num_rows, np.bool_)
        differs[common] = ~_equal(held.take(pa.array(at[common])), new.filter(pa.array(common)))
        replaces = differs & (self._prefer is Prefer.NEW)
        taken = ~common | replaces
        kept = np.ones(held.num_rows, np.bool_)
        kept[at[replaces]] = False
        first = [
            _difference(held.slice(int(at[place]), 1), new.slice(int(place), 1))
            for place in np.flatnonzero(differs)[: imported_files.EXAMPLES - len(self.put.first)]
        ]
        self.put = CandlesPut(
            self.put.added + int((~common).sum()),
            self.put.replaced + int(replaces.sum()),
            self.put.differing + int(differs.sum()),
            self.put.first + first,
        )
        self._differing.update(_by_member(timeframe, new.filter(pa.array(differs & ~replaces))))
        self._differing.update(_by_member(timeframe, held.filter(pa.array(~kept))))
        return pa.concat_tables([held.filter(pa.array(kept)), new.filter(pa.array(taken))]).sort_by("time")


def _by_member(timeframe: str, rows: pa.Table) -> dict[tuple[str, str], int]:
    """Count rows by timeframe and member."""
    return {(timeframe, one["values"]): one["counts"] for one in pc.value_counts(rows["member"]).to_pylist()}


def _by_timeframe(held: Iterable[pa.Table], new: Iterable[pa.Table]) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Yield each timeframe with the held and the new rows of it; both come sorted by timeframe."""
    streams = map(_grouped, (held, new), (0, 1))
    for name, group in itertools.groupby(heapq.merge(*streams, key=lambda one: one[:2]), key=lambda one: one[0]):
        found = {which: rows for _, which, rows in group}
        yield name, *(found.get(which, BULK_OHLC.columns.empty_table()) for which in (0, 1))


def _grouped(parts: Iterable[pa.Table], which: int) -> Iterator[tuple[str, int, pa.Table]]:
    """Yield the rows of each timeframe, with which stream they are of."""
    name, waiting = "", list[pa.Table]()
    for part in parts:
        names = part["timeframe"]
        for one in pc.unique(names).to_pylist():
            if one != name and waiting:
                yield name, which, pa.concat_tables(waiting)
                waiting = []
            name = one
            waiting.append(part.filter(pc.equal(names, one)))
    if waiting:
        yield name, which, pa.concat_tables(waiting)


def _times(rows: pa.Table) -> npt.NDArray[np.int64]:
    times: npt.NDArray[np.int64] = rows["time"].cast(pa.int64()).to_numpy()
    return times


def _places(
    held: npt.NDArray[np.int64], new: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each new time stands among the held ones, both ascending, and whether it does."""
    at = np.searchsorted(held, new)
    common = np.zeros(len(new), np.bool_)
    inside = at < len(held)
    common[inside] = held[at[inside]] == new[inside]
    return at, common


def _equal(held: pa.Table, new: pa.Table) -> npt.NDArray[np.bool_]:
    found = np.ones(held.num_rows, np.bool_)
    for name in _CONTENT:
        found &= pc.equal(held[name], new[name]).to_numpy()
    return found


def _difference(held: pa.Table, new: pa.Table) -> str:
    (ours,), (theirs,) = held.to_pylist(), new.to_pylist()
    fields = ", ".join(
        f"{name} {theirs[name]:f} here, {ours[name]:f} stored" for name in _CONTENT if ours[name] != theirs[name]
    )
    return f"{ours['time']:%Y-%m-%d %H:%M}: {fields}"
