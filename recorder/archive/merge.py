"""Rows of files that overlap, in the order of their ids, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Batches: TypeAlias = Callable[[], Iterator[pa.Table]]
"""Opens one file and gives its rows, ascending in ``trade_id``, in tables none of which is empty."""


def in_order(files: Iterable[tuple[int, Batches]]) -> Iterator[pa.Table]:
    """Yield the rows of files, each given with the id that it begins with, ascending in ``trade_id``.

    A file is opened when its turn comes. Each round takes from every open file the rows up to the lowest id at which
    one of the tables in hand ends, so that of each open file one table is in memory. Ids that lie in two files are
    yielded next to each other, in one table.
    """
    waiting = deque(sorted(files, key=_first_id))
    heads: list[tuple[pa.Table, Iterator[pa.Table]]] = []
    while waiting or heads:
        end = min((_last_id(rows) for rows, _ in heads), default=None)
        if waiting and (end is None or waiting[0][0] <= end):
            batches = waiting.popleft()[1]()
            heads.append((next(batches), batches))
            continue
        parts, left = [], []
        for rows, batches in heads:
            cut = int(pc.sum(pc.less_equal(rows["trade_id"], end)).as_py() or 0) if len(heads) > 1 else rows.num_rows
            if cut:
                parts.append(rows.slice(0, cut))
            rest = rows.slice(cut) if cut < rows.num_rows else next(batches, None)
            if rest is not None:
                left.append((rest, batches))
        heads = left
        yield parts[0] if len(parts) == 1 else pa.concat_tables(parts).sort_by("trade_id")


def _first_id(file: tuple[int, Batches]) -> int:
    return file[0]


def _last_id(rows: pa.Table) -> int:
    return int(rows["trade_id"][-1].as_py())
