"""Bars of several pairs side by side: one column for each pair, one row for each bar of a common grid. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from recorder.core.plausibility import EARLIEST_US
from recorder.query.bars import BarQuery
from recorder.query.id_runs import YEAR_US

_TIME: Final = pa.timestamp("us", "UTC")


def of(bars: pa.Table, column: str, pairs: Sequence[str], grid: BarQuery, *, now_us: int) -> pa.Table:
    """Return ``time`` and a column for each pair with the values of one column of bars; null where it has no bar.

    The grid is unbroken from the first bar to the last. A bar at a time at which no trade can have been made, before
    2011 or more than a year after ``now_us``, has a row too, but the grid does not reach up to it.
    """
    starts = bars["time"].cast(pa.int64()).to_numpy()
    usual = starts[(starts >= EARLIEST_US) & (starts <= now_us + YEAR_US)]
    every = np.arange(usual.min(), usual.max() + 1, int(grid.size)) if len(usual) else usual
    times = np.union1d(every, starts)
    codes = bars["pair"].unify_dictionaries()
    names = codes.chunk(0).dictionary.to_pylist() if codes.num_chunks else []
    of_pair = np.concatenate([np.empty(0, np.int64), *(chunk.indices.to_numpy() for chunk in codes.chunks)])
    columns = [pa.array(times, pa.int64()).cast(_TIME)]
    for pair in pairs:
        rows = np.flatnonzero(of_pair == names.index(pair)) if pair in names else np.empty(0, np.int64)
        place = np.full(len(times), -1)
        place[np.searchsorted(times, starts[rows])] = rows
        columns.append(bars[column].take(pa.array(place, pa.int64(), mask=place < 0)))
    return pa.table(columns, ["time", *pairs])
