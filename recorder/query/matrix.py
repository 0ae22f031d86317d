"""Values of several pairs side by side: one column for each pair, one row for each bar of a common grid. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def side_by_side(rows: pa.Table, column: str, pairs: Sequence[str], width_us: int) -> pa.Table:
    """Return ``time`` and a column for each pair with its values of one column; null where it has no row.

    The grid is unbroken from the first row of any pair to the last.

    >>> found = pa.table({"pair": ["A", "B"], "time": [60, 180], "close": [1.0, 2.0]})
    >>> side_by_side(found, "close", ["A", "B"], 60).to_pydict()
    {'time': [60, 120, 180], 'A': [1.0, None, None], 'B': [None, None, 2.0]}
    """
    times = rows["time"].cast(pa.int64()).to_numpy()
    first, end = (times.min(), times.max() + 1) if len(times) else (0, 0)
    grid = np.arange(first, end, width_us)
    columns = [pa.array(grid, pa.int64()).cast(rows["time"].type)]
    codes = rows["pair"].combine_chunks().dictionary_encode()
    order = np.argsort(codes.indices.to_numpy(), kind="stable")
    ends = np.cumsum(np.bincount(codes.indices.to_numpy(), minlength=len(codes.dictionary)))
    of_pairs = dict(zip(codes.dictionary.to_pylist(), np.split(order, ends[:-1]), strict=False))
    for pair in pairs:
        of_pair = of_pairs.get(pair, order[:0])
        place = np.full(len(grid), -1)
        place[(times[of_pair] - first) // width_us] = of_pair
        columns.append(rows[column].take(pa.array(place, pa.int64(), mask=place < 0)))
    return pa.table(columns, ["time", *pairs])
