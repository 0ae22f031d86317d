"""The stored content of a few days of a pair: ids, times and digest, read only from row groups that may have some.

For callers that check a few days of many years while recording. :mod:`recorder.archive.verify_trades` reads everything
and trusts no file; here, footers and statistics are trusted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import TRADES
from recorder.archive.ordered_merge import Batches, in_order
from recorder.archive.parquet import FileFacts, OpenFile
from recorder.archive.verify_trades import DayBook
from recorder.core.certificate import DAY_US, DayRows
from recorder.core.trade_ids import Span

_COLUMNS: Final = ["trade_id", "time", "price", "qty", "side"]
_BATCH: Final = 16_384
"""Rows in memory per file at most."""


def held_days(files: Sequence[FileFacts], days: Span, *, ids: Span | None = None) -> Mapping[date, DayRows]:
    """Return what ``files`` of one pair store of ``days`` (numbered since 1970), or only of these ``ids``. Blocking.

    Raises UnsoundFile, UnreadableFile; FileNotFoundError if a compaction interferes.
    """
    with ThreadPoolExecutor(1, "days") as pool, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(OpenFile(facts.path, words=["side"])) for facts in files]
        chosen = ((file, _groups(file, days, ids)) for file in opened)
        book = DayBook(pool)
        parts = ((None, _opener(file, groups, days, ids)) for file, groups in chosen if groups)
        for rows in in_order(parts, TRADES.order):
            book.enter(rows)
        return book.days()


def _groups(file: OpenFile, days: Span, ids: Span | None) -> list[int]:
    """Return the row groups that may have such rows."""
    found = []
    for group in file.groups:
        low_us, high_us = file.limits("time", group)
        if high_us // DAY_US >= days.first and low_us // DAY_US <= days.last:
            low_id, high_id = file.limits("trade_id", group)
            if ids is None or (high_id >= ids.first and low_id <= ids.last):
                found.append(group)
    return found


def _opener(file: OpenFile, groups: Sequence[int], days: Span, ids: Span | None) -> Batches:
    columns = pa.schema([TRADES.columns.field(name) for name in _COLUMNS])

    def batches() -> Iterator[pa.Table]:
        for rows in file.read(_BATCH, columns=_COLUMNS, groups=groups, use_threads=False):
            times_us = rows["time"].cast(pa.int64())
            wanted = _within(times_us, days.first * DAY_US, (days.last + 1) * DAY_US - 1)
            if ids is not None:
                wanted = pc.and_(wanted, _within(rows["trade_id"], ids.first, ids.last))
            few = rows.filter(wanted)
            if few.num_rows:
                yield few.cast(columns)

    return batches


def _within(values: pa.ChunkedArray, first: int, last: int) -> pa.ChunkedArray:
    return pc.and_(pc.greater_equal(values, first), pc.less_equal(values, last))
