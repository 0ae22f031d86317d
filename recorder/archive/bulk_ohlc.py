"""Writing ``bulk_ohlc``: candles of history files, digit by digit as they were printed.

Each candle stands by itself: one that is stored is compared, and kept unless the caller prefers the new one. As in
:mod:`recorder.archive.bulk_trades`, a year of a pair is one file that is replaced as a whole. Its footer says for each
timeframe which members were taken into account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

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
        with self.replacing(pair, year) as (held, write):
            merge = _Merge(held, source, candles, prefer)
            write(merge.rows(), lambda footer: replace(footer, history=merge.history()))
        return merge.put


class _Merge:
    """Merges candles into a year's file; those of other timeframes pass through."""

    def __init__(self, held: FileFacts | None, source: Source, candles: NewCandles, prefer: Prefer | None) -> None:
        self._before = (held.footer.history if held is not None else None) or History()
        self._members, self._member = self._before.with_member(source)
        self._held = held
        self._new = candles
        self._prefer = prefer
        self._stored = Counter[str]()
        self.put = CandlesPut(0, 0, 0, [])

    def rows(self) -> Iterator[pa.Table]:
        """Yield all rows of the year, by timeframe and time."""
        same: list[pa.Table] = []
        merged = False
        for part in imported_files.read(self._held, BULK_OHLC):
            name = part["timeframe"]
            yield part.filter(pc.less(name, self._new.timeframe))
            same.append(part.filter(pc.equal(name, self._new.timeframe)))
            if (after := part.filter(pc.greater(name, self._new.timeframe))).num_rows:
                if not merged:
                    yield self._merged(pa.concat_tables(same))
                    merged = True
                yield after
        if not merged:
            yield self._merged(pa.concat_tables([BULK_OHLC.columns.empty_table(), *same]))

    def history(self) -> History:
        """Return the footer's content."""
        begins = self._new.rows["time"].cast(pa.int64())
        width_us = self._new.minutes * _US_PER_MINUTE
        mine = Series(
            self._new.timeframe,
            self._member,
            self._new.rows.num_rows,
            0,
            pc.min(begins).as_py(),
            pc.max(begins).as_py() + width_us,
            self.put.differing,
        )
        kept = [one for one in self._before.series if (one.timeframe, one.member) != (mine.timeframe, mine.member)]
        counted = [
            one if one.timeframe != mine.timeframe else self._counted(one)
            for one in sorted([*kept, mine], key=lambda one: (one.timeframe, one.from_us, one.member))
        ]
        return History(self._members, series=tuple(counted))

    def _counted(self, one: Series) -> Series:
        return one.with_stored(self._stored[self._members[one.member].short])

    def _merged(self, held: pa.Table) -> pa.Table:
        new = self._named(self._new.rows)
        at, common = _places(_times(held), _times(new))
        differs = np.zeros(new.num_rows, np.bool_)
        differs[common] = ~_equal(held.take(pa.array(at[common])), new.filter(pa.array(common)))
        replaces = differs & (self._prefer is Prefer.NEW)
        taken = ~common | replaces
        kept = np.ones(held.num_rows, np.bool_)
        kept[at[replaces]] = False
        first = [
            _difference(held.slice(int(at[place]), 1), new.slice(int(place), 1))
            for place in np.flatnonzero(differs)[: imported_files.EXAMPLES]
        ]
        self.put = CandlesPut(int((~common).sum()), int(replaces.sum()), int(differs.sum()), first)
        rows = pa.concat_tables([held.filter(pa.array(kept)), new.filter(pa.array(taken))]).sort_by("time")
        self._stored = Counter({row["values"]: row["counts"] for row in pc.value_counts(rows["member"]).to_pylist()})
        return rows

    def _named(self, rows: pa.Table) -> pa.Table:
        """Return rows of the member with the columns of the table."""
        for name, value in (("timeframe", self._new.timeframe), ("member", self._members[self._member].short)):
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), rows.num_rows))
        return rows.select(BULK_OHLC.columns.names).cast(BULK_OHLC.columns)


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
