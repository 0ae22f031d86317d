"""Writing ``bulk_ohlc``: candles of history files, digit by digit as they were printed.

Each candle stands by itself: one that is stored is compared, and kept unless the caller prefers the new one. As in
:mod:`recorder.archive.bulk_trades`, a year of a pair is one file that is replaced as a whole. Its footer says for each
timeframe which members were taken into account.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
from recorder.archive.ordered_merge import in_order
from recorder.archive.parquet import FileFacts

_CONTENT: Final = ("open", "high", "low", "close", "volume", "count")
_US_PER_MINUTE: Final = 60_000_000
_NEW: Final = "new"
"""A column beside those of the table while rows are merged."""


class NewCandles(NamedTuple):
    """The candles of a timeframe and year in a member, in parts: ascending in time, each once; time, numbers, row."""

    timeframe: str
    minutes: int
    parts: Iterable[pa.Table]


class CandlesPut(NamedTuple):
    """How many candles came, were new, replaced stored ones and differ from stored ones; the first of these as text."""

    rows: int
    added: int
    replaced: int
    differing: int
    first: list[str]


class BulkOhlc(ImportedTable):
    """The table ``bulk_ohlc``, for writing."""

    dataset = BULK_OHLC

    def put(self, pair: str, year: int, source: Source, candles: NewCandles, prefer: Prefer | None) -> CandlesPut:
        """Add candles, durably. Raises UnsoundFile, CorruptFile if the stored file cannot be trusted; DiskError."""
        ends_us = list[int]()

        def rows() -> Iterator[pa.Table]:
            for part in candles.parts:
                times = part["time"].cast(pa.int64())
                ends_us[:] = [*ends_us[:1], *pc.min_max(times).as_py().values()]
                yield _named(part, candles.timeframe, source.short)

        def history(put: CandlesPut) -> History:
            until_us = ends_us[-1] + candles.minutes * _US_PER_MINUTE
            return History((source,), series=(Series(candles.timeframe, 0, put.rows, 0, ends_us[0], until_us),))

        return self._put(pair, year, history, rows(), prefer)

    def put_series(self, pair: str, year: int, history: History, rows: Iterable[pa.Table]) -> CandlesPut:
        """Add the candles that another file of the year has, in its order, and its ``history``, durably.

        Raises as :meth:`put` does.
        """
        return self._put(pair, year, lambda _: history, rows, None)

    def compare_series(self, pair: str, year: int, history: History, rows: Iterable[pa.Table]) -> CandlesPut:
        """Return what would become of such candles, and change nothing. Raises as :meth:`put` does."""
        merge = _Merge(self.file(pair, year), lambda _: history, None)
        for _ in merge.rows(rows):
            pass
        return merge.put

    def _put(
        self,
        pair: str,
        year: int,
        history: Callable[[CandlesPut], History],
        rows: Iterable[pa.Table],
        prefer: Prefer | None,
    ) -> CandlesPut:
        with self.replacing(pair, year) as (held, write):
            merge = _Merge(held, history, prefer)
            write(merge.rows(rows), lambda footer: replace(footer, history=merge.history()))
        return merge.put


class _Merge:
    """Merges candles into a year's file, in the order of both, so that memory holds a few thousand of each.

    ``new`` gives their history, once all have been taken.
    """

    def __init__(self, held: FileFacts | None, new: Callable[[CandlesPut], History], prefer: Prefer | None) -> None:
        self._before = (held.footer.history if held is not None else None) or History()
        self._new = new
        self._held = held
        self._prefer = prefer
        self._stored = Counter[tuple[str, str]]()
        self._differing = Counter[tuple[str, str]]()
        self.put = CandlesPut(0, 0, 0, 0, [])

    def rows(self, new: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield all rows of the year, by timeframe and time."""
        streams = [imported_files.read(self._held, BULK_OHLC), iter(new)]
        files = [(None, functools.partial(_marked, stream, is_new)) for is_new, stream in enumerate(streams)]
        for both in in_order(files, BULK_OHLC.order):
            rows = self._merged(both)
            self._stored.update(_counts(rows))
            yield rows.select(BULK_OHLC.columns.names).cast(BULK_OHLC.columns)

    def history(self) -> History:
        """Return the footer's content."""
        members, places, new = self._before.members, list[int](), self._new(self.put)
        for source in new.members:
            members, place = History(members).with_member(source)
            places.append(place)
        found = {(one.timeframe, one.member): one for one in self._before.series}
        for one in new.series:
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

    def _merged(self, both: pa.Table) -> pa.Table:
        """Return the rows that count, of held and new ones in order: of the same candle the new one comes second."""
        before, after = both.slice(0, both.num_rows - 1), both.slice(1)
        again = np.ones(after.num_rows, np.bool_)
        for name in BULK_OHLC.order:
            again &= pc.equal(before[name], after[name]).to_numpy()
        differs = again.copy()
        differs[again] = ~_equal(before.filter(pa.array(again)), after.filter(pa.array(again)))
        replaces = differs & (self._prefer is Prefer.NEW)
        kept = np.ones(both.num_rows, np.bool_)
        kept[1:] = ~again | replaces
        kept[:-1] &= ~replaces
        first = [
            _difference(before.slice(place, 1), after.slice(place, 1))
            for place in np.flatnonzero(differs)[: imported_files.EXAMPLES - len(self.put.first)].tolist()
        ]
        came = pc.sum(both[_NEW]).as_py()
        self.put = CandlesPut(
            self.put.rows + came,
            self.put.added + came - int(again.sum()),
            self.put.replaced + int(replaces.sum()),
            self.put.differing + int(differs.sum()),
            self.put.first + first,
        )
        self._differing.update(_counts(after.filter(pa.array(differs & ~replaces))))
        self._differing.update(_counts(before.filter(pa.array(replaces))))
        return both if kept.all() else both.filter(pa.array(kept))


def _named(rows: pa.Table, timeframe: str, member: str) -> pa.Table:
    """Return candles of one member with the columns of the table."""
    for name, value in (("timeframe", timeframe), ("member", member)):
        rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), rows.num_rows))
    return rows.select(BULK_OHLC.columns.names).cast(BULK_OHLC.columns)


def _marked(parts: Iterable[pa.Table], is_new: int) -> Iterator[pa.Table]:
    """Yield rows with whether they are new, 0 or 1."""
    for rows in parts:
        if rows.num_rows:
            yield rows.append_column(_NEW, pa.repeat(pa.scalar(is_new, pa.int64()), rows.num_rows))


def _counts(rows: pa.Table) -> dict[tuple[str, str], int]:
    """Count rows by timeframe and member."""
    found = rows.group_by(["timeframe", "member"]).aggregate([([], "count_all")]).to_pylist()
    return {(one["timeframe"], one["member"]): one["count_all"] for one in found}


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
