from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.ordered_merge import in_order

FILES = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12, unique=True).map(sorted), max_size=6)


def batches(ids: list[int], size: int, opened: list[int]) -> Iterator[pa.Table]:
    opened.append(ids[0])
    for start in range(0, len(ids), size):
        yield pa.table({"trade_id": pa.array(ids[start : start + size], pa.int64())})


@given(FILES, st.integers(1, 5))
def test_rows_come_in_the_order_of_their_ids_those_of_one_id_together(files: list[list[int]], size: int) -> None:
    opened: list[int] = []
    tables = list(in_order(((ids[0], partial(batches, ids, size, opened)) for ids in files), ["trade_id"]))
    found = [table["trade_id"].to_pylist() for table in tables]
    assert [trade_id for ids in found for trade_id in ids] == sorted(trade_id for ids in files for trade_id in ids)
    assert all(one[-1] < other[0] for one, other in pairwise(found))
    assert opened == sorted(ids[0] for ids in files)


def test_a_file_is_opened_when_its_turn_comes() -> None:
    opened: list[int] = []
    files = [[1, 2, 3, 4], [11, 12], [3, 5]]
    rows = in_order(((ids[0], partial(batches, ids, 2, opened)) for ids in files), ["trade_id"])
    next(rows)
    assert opened == [1]
    assert sum(table.num_rows for table in rows) == 6
    assert opened == [1, 3, 11]
