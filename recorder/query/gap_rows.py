"""What becomes of the rows that a gap touches: they lose their values, or separate the unbroken runs. Pure.

A row is touched if ``missing_trades`` says so; trades and published candles are never touched, but lie around a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.core.trade_ids import Gap
from recorder.lazy_imports import pc
from recorder.query.bars import IDS, VALUES
from recorder.query.id_runs import LostCandles

_MISSING: Final = "missing_trades"
_Flags: TypeAlias = npt.NDArray[np.bool_]


class Stretch(NamedTuple):
    """Consecutive rows of one pair."""

    pair: str
    begin: int
    end: int


def without_silent(table: pa.Table) -> pa.Table:
    """Return bars without those that have no trades and miss none."""
    return table.filter(pa.array((_whole(table, "count") > 0) | (_whole(table, _MISSING) > 0)))


def nulled(table: pa.Table) -> pa.Table:
    """Return bars without the values of those that miss trades; ``count`` is the number of stored trades.

    >>> nulled(pa.table({"close": [1.0, 2.0], "count": [3, None], "missing_trades": [0, 7]})).to_pylist()[1]
    {'close': None, 'count': 0, 'missing_trades': 7}
    """
    touched = pa.array(_whole(table, _MISSING) > 0)
    for name in table.column_names:
        if name in VALUES:
            kept = pc.if_else(touched, pa.scalar(None, table[name].type), table[name])
            table = table.set_column(table.column_names.index(name), name, kept)
    return table.set_column(table.column_names.index("count"), "count", table["count"].fill_null(0))


def with_lost(
    table: pa.Table, pairs: Sequence[str], lost: Mapping[str, Sequence[LostCandles]], width_us: int
) -> pa.Table:
    """Return candles of the exchange with a row for each lost one, which has a ``count`` of 0 and no other values."""
    if not lost:
        return table
    times = table["time"].cast(pa.int64()).to_numpy()
    places, all_times = [], []
    for pair, begin, end in _of_pairs(table, pairs):
        starts = [one.first_us + width_us * np.arange(one.count, dtype=np.int64) for one in lost.get(pair, ())]
        of_pair = np.concatenate([times[begin:end], *starts])
        order = np.argsort(of_pair, kind="stable")
        all_times.append(of_pair[order])
        places.append(np.where(order < end - begin, begin + order, -1))
    place = np.concatenate(places)
    # A lost candle is of the pair, and of the timeframe, of the one before it.
    series = pa.array(np.maximum.accumulate(place))
    rows = table.take(pa.array(place, mask=place < 0))
    columns = {
        "time": pa.chunked_array([pa.array(np.concatenate(all_times))]).cast(table.schema.field("time").type),
        "count": rows["count"].fill_null(0),
        **{name: table[name].take(series) for name in ("pair", "timeframe")},
    }
    for name, column in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def unbroken(table: pa.Table, pairs: Sequence[str], missing: Mapping[str, Sequence[Gap]]) -> Iterator[Stretch]:
    """Yield the unbroken runs of trades, or of bars: no gap lies between two rows, and none touches a row.

    ``missing`` are the gaps of each pair, whose rows are together and ascend.
    """
    ids = _whole(table, IDS[0] if IDS[0] in table.column_names else "trade_id")
    touched = _whole(table, _MISSING) > 0 if _MISSING in table.column_names else np.zeros(len(ids), bool)
    for pair, begin, end in _of_pairs(table, pairs):
        firsts = np.array([gap.span.first for gap in missing.get(pair, ())], np.int64)
        # A bar without trades has no ids, and belongs to the run of the bar before it.
        passed = np.maximum.accumulate(np.searchsorted(firsts, ids[begin:end], side="right"))
        for one in _alike(passed, touched[begin:end]):
            yield Stretch(pair, begin + one[0], begin + one[1])


def outside(
    table: pa.Table, pairs: Sequence[str], gaps: Mapping[str, Sequence[tuple[int, int]]], width_us: int
) -> Iterator[Stretch]:
    """Yield the stretches of bars of each pair that are in none of its ``gaps``, which are ascending bar numbers."""
    numbers = table["time"].cast(pa.int64()).to_numpy() // width_us
    for pair, begin, end in _of_pairs(table, pairs):
        ends = np.array([(-1, -1), *gaps.get(pair, ())], np.int64)
        passed = np.searchsorted(ends[1:, 0], numbers[begin:end], side="right")
        for one in _alike(passed, numbers[begin:end] <= ends[passed, 1]):
            yield Stretch(pair, begin + one[0], begin + one[1])


def contiguous(table: pa.Table, pairs: Sequence[str], width_us: int) -> Iterator[Stretch]:
    """Yield the stretches of candles of each pair without a lost one between two."""
    times = table["time"].cast(pa.int64()).to_numpy()
    for pair, begin, end in _of_pairs(table, pairs):
        steps = np.cumsum(np.diff(times[begin:end], prepend=times[begin : begin + 1]) > width_us)
        for one in _alike(steps, np.zeros(end - begin, bool)):
            yield Stretch(pair, begin + one[0], begin + one[1])


def _alike(marks: npt.NDArray[np.int64], left_out: _Flags) -> Iterator[tuple[int, int]]:
    """Yield the ranges of consecutive rows with equal marks, without those ``left_out``."""
    if not len(marks):
        return
    changes = (np.diff(marks) != 0) | (np.diff(left_out.astype(np.int8)) != 0)
    ends = [*(np.flatnonzero(changes) + 1).tolist(), len(marks)]
    for begin, end in zip([0, *ends], ends, strict=False):
        if not left_out[begin]:
            yield begin, end


def _of_pairs(table: pa.Table, pairs: Sequence[str]) -> Iterator[Stretch]:
    """Yield the rows of each pair that has any."""
    if not table.num_rows:
        return
    if len(pairs) == 1:
        yield Stretch(pairs[0], 0, table.num_rows)
        return
    codes, names = _codes(table["pair"])
    ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for begin, end in zip([0, *ends], ends, strict=False):
        yield Stretch(names[codes[begin]], begin, end)


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return categories as codes, and their words."""
    found = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = np.concatenate([chunk.indices.to_numpy().astype(np.int64) for chunk in found.chunks])
    return codes, found.chunk(0).dictionary.to_pylist()


def _whole(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """Return a column of integers, with 0 for those that are missing."""
    found: npt.NDArray[np.int64] = table[name].fill_null(0).to_numpy().astype(np.int64)
    return found
