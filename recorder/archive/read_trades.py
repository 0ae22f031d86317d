"""Reading of archived trades as model objects (for checks), and of the source of a single trade."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import ordered_merge
from recorder.archive.coverage import Coverage
from recorder.archive.footer import BULK
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile
from recorder.archive.schema import TRADES
from recorder.core.model import Trade
from recorder.core.trade_ids import Span
from recorder.disk import undisturbed

_BATCH: Final = 50_000


def trades(layout: Layout, pair: str) -> Iterator[Trade]:
    """Yield every archived row of ``pair``, file by file, in bounded memory."""
    for path in layout.trade_files(pair):
        yield from file_trades(path, pair)


def file_trades(path: Path, pair: str) -> Iterator[Trade]:
    """Yield the rows of one file, which belongs to ``pair``."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH):
            yield from of_rows(rows, pair)


def span_rows(files: Iterable[FileFacts], pair: str, span: Span, *, size: int) -> Iterator[list[Trade]]:
    """Yield the rows of ``pair`` with ids in ``span``, in ascending id, at most some multiple of ``size`` at a time.

    ``files`` are all files of the pair; only row groups with such ids are read. Raises as :class:`OpenFile` does, also
    FileNotFoundError if a compaction removes a file before it is opened.
    """
    overlapping = [
        (min(run.span.first for run in file.footer.runs if _overlaps(run.span, span)), file.path)
        for file in files
        if any(_overlaps(run.span, span) for run in file.footer.runs)
    ]
    batches = [(first, functools.partial(_rows_of, path, span, size)) for first, path in overlapping]
    for rows in ordered_merge.in_order(batches, ["trade_id"]):
        yield list(of_rows(rows, pair))


def _rows_of(path: Path, span: Span, size: int) -> Iterator[pa.Table]:
    with OpenFile(path) as file:
        limits = {group: file.limits("trade_id", group) for group in file.groups}
        groups = [group for group, (low, high) in limits.items() if low <= span.last and high >= span.first]
        for rows in file.read(size, groups=groups, use_threads=False):
            inside = pc.and_(pc.greater_equal(rows["trade_id"], span.first), pc.less_equal(rows["trade_id"], span.last))
            if (found := rows.filter(inside)).num_rows:
                yield found


def _overlaps(one: Span, other: Span) -> bool:
    return one.first <= other.last and one.last >= other.first


def recorded(coverage: Coverage, pair: str, trade_id: int) -> bool:
    """Return whether a trade of ``pair`` came from the exchange itself, and not from imported files.

    True also if the trade is not archived yet, since then it is in the journal, or if its row cannot be read. Raises
    StorageError if files keep changing.
    """
    try:
        return undisturbed(lambda: _source(coverage, pair, trade_id), f"the files of {pair}") != BULK
    except SET_APART:
        return True


def _source(coverage: Coverage, pair: str, trade_id: int) -> str | None:
    holding = (one for one in coverage.files(pair) if any(trade_id in run.span for run in one.footer.runs))
    for facts in holding:
        with OpenFile(facts.path) as file:
            for rows in file.read(_BATCH, columns=["trade_id", "source"]):
                found = rows.filter(pc.equal(rows["trade_id"], trade_id))
                if found.num_rows:
                    return str(found["source"][0])
    return None


def of_rows(rows: pa.Table | pa.RecordBatch, pair: str) -> Iterator[Trade]:
    """Yield rows of the trades table, all of one pair, as trades; values are unchanged."""
    columns = [_values(rows.column(name)) for name in TRADES.names]
    for trade_id, time, price, qty, side, ord_type, misc, source, received in zip(*columns, strict=True):
        yield Trade(pair, trade_id, time, price, qty, side, ord_type, misc, source, received)


def _values(column: pa.Array) -> list[object]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return list(column.to_pylist())
