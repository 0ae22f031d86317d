"""Ordered merge of the rows of overlapping files in bounded memory, for compacting, verifying and merging archives."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Batches: TypeAlias = Callable[[], Iterator[pa.Table]]
"""Opens one file and yields its rows in order, in non-empty tables."""


def in_order(files: Iterable[tuple[Any, Batches]], order: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of files that are each sorted by the columns ``order``; equal rows in the order of their files.

    Each file comes with its first value of the first sort column, by which the files are ordered and opened as late as
    possible; a file with None, for an unknown value, is opened at once. Each round yields from every open file the rows
    up to the lowest key at which one of the tables in memory ends, so one table per open file is in memory. Rows with
    the same key are adjacent, in one table.
    """
    waiting = deque(sorted(files, key=_begins))
    heads: list[tuple[pa.Table, Iterator[pa.Table]]] = []
    while waiting or heads:
        end: tuple[Any, ...] = min((key(order, rows, -1) for rows, _ in heads), default=())
        if waiting and (not end or waiting[0][0] is None or waiting[0][0] <= end[0]):
            batches = waiting.popleft()[1]()
            if (rows := next(batches, None)) is not None:
                heads.append((rows, batches))
            continue
        parts, left = [], []
        for rows, batches in heads:
            # If only one file is open, everything in memory precedes the next file.
            cut = rows.num_rows if len(heads) == 1 else _up_to(rows, end, order)
            if cut:
                parts.append(rows.slice(0, cut))
            rest = rows.slice(cut) if cut < rows.num_rows else next(batches, None)
            if rest is not None:
                left.append((rest, batches))
        heads = left
        yield parts[0] if len(parts) == 1 else in_row_order(order, pa.concat_tables(parts))


def _begins(file: tuple[Any, Batches]) -> tuple[bool, Any]:
    return file[0] is not None, file[0] or 0


def key(order: Sequence[str], rows: pa.Table, index: int) -> tuple[Any, ...]:
    """Return the sort key of a row."""
    return tuple(rows[name][index].as_py() for name in order)


def in_row_order(order: Sequence[str], rows: pa.Table) -> pa.Table:
    """Return rows sorted; equal rows keep their order."""
    return rows.sort_by([(name, "ascending") for name in order])  # stable


def is_in_order(order: Sequence[str], rows: pa.Table) -> bool:
    """Return whether rows are sorted, without copying them."""
    before, after = rows.slice(0, max(0, rows.num_rows - 1)), rows.slice(1)
    in_place: pa.ChunkedArray | None = None
    for name in reversed(order):
        less, equal = pc.less(before[name], after[name]), pc.equal(before[name], after[name])
        in_place = pc.or_(less, equal if in_place is None else pc.and_(equal, in_place))
    return in_place is None or bool(pc.all(in_place, skip_nulls=False).as_py() or not len(in_place))


def _up_to(rows: pa.Table, end: tuple[Any, ...], order: Sequence[str]) -> int:
    return bisect_right(range(rows.num_rows), end, key=functools.partial(key, order, rows))
