"""Trades in ascending id order, sorting only what is not sorted.

The recorder writes every file sorted, and the footers contain the ids in it: read in the order of their lowest ids,
files that do not overlap make one ascending run. The result is checked, and only unsorted stretches are sorted: where a
backfill filled a gap beside a file that extends beyond it, or where the journal did. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.archive.footer import Footer

_Integers: TypeAlias = npt.NDArray[np.int64]


def by_id(footers: Mapping[str, Footer]) -> list[str]:
    """Return the files of one pair in the order of the lowest ids in them."""
    return sorted(footers, key=lambda path: min((run.span.first for run in footers[path].runs), default=0))


def numbers(column: pa.ChunkedArray) -> list[_Integers]:
    """Return the values of each chunk of a column of integers, or the codes of categories, none of them missing.

    Makes no copy, and avoids to_numpy, which imports pandas.

    >>> numbers(pa.chunked_array([[1, 2], [3]]))[1].tolist()
    [3]
    """
    chunks = [chunk.indices if pa.types.is_dictionary(chunk.type) else chunk for chunk in column.chunks if len(chunk)]
    return [
        np.frombuffer(chunk.buffers()[1], f"i{chunk.type.bit_width // 8}")[chunk.offset : chunk.offset + len(chunk)]
        for chunk in chunks
    ]


def bounds(first: pa.ChunkedArray, last: pa.ChunkedArray) -> tuple[int, int] | None:
    """Return the lowest and the highest of these ids; None if there are none."""
    lows, highs = numbers(first), numbers(last)
    return (min(int(part.min()) for part in lows), max(int(part.max()) for part in highs)) if lows else None


def sorted_by(keys: Sequence[str], table: pa.Table) -> pa.Table:
    """Return the rows in ascending order of these integer columns, the most significant first.

    >>> sorted_by(["n"], pa.table({"n": [1, 2, 5, 4, 6]}))["n"].to_pylist()
    [1, 2, 4, 5, 6]
    """
    parts = [numbers(table[key]) for key in keys]
    if _ascend(zip(*parts, strict=True)):
        return table
    order = np.lexsort([np.concatenate(part) for part in reversed(parts)])
    places = np.arange(len(order))
    # A row that is in its place, with all smaller ones before it, separates two stretches.
    ends = np.maximum.accumulate(order) == places
    sound = ends & np.concatenate([[True], ends[:-1]])
    cuts = [0, *(np.flatnonzero(sound[1:] != sound[:-1]) + 1).tolist(), len(order)]
    stretches = []
    for begin, end in pairwise(cuts):
        rows = table.slice(begin, end - begin)
        stretches.append(rows if sound[begin] else rows.take(_indices(order[begin:end] - begin)))
    return pa.concat_tables(stretches)


def _ascend(parts: Iterable[tuple[_Integers, ...]]) -> bool:
    """Return whether rows ascend by their keys, across all parts."""
    before: tuple[int, ...] | None = None
    for keys in parts:
        later = np.zeros(len(keys[0]) - 1, bool)
        for key in reversed(keys):
            steps = np.diff(key)
            later = (steps > 0) | ((steps == 0) & later)
        if not later.all() or (before is not None and before >= tuple(int(key[0]) for key in keys)):
            return False
        before = tuple(int(key[-1]) for key in keys)
    return True


def _indices(places: _Integers) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(np.ascontiguousarray(places))])
