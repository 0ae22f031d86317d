"""Read archived trades as the model's (for checks)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.archive.schema import TRADES
from recorder.core.model import Trade

_BATCH: Final = 50_000


def trades(layout: Layout, pair: str) -> Iterator[Trade]:
    """Yield every archived row of ``pair``, file after file, in bounded memory."""
    for path in layout.trade_files(pair):
        yield from file_trades(path, pair)


def file_trades(path: Path, pair: str) -> Iterator[Trade]:
    """Yield the rows of one file, which belongs to ``pair``."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH):
            yield from of_rows(rows, pair)


def of_rows(rows: pa.Table | pa.RecordBatch, pair: str) -> Iterator[Trade]:
    """Yield rows of the trades table, all of one pair, as trades; every value as it is."""
    columns = [_values(rows.column(name)) for name in TRADES.names]
    for trade_id, time, price, qty, side, ord_type, misc, source, received in zip(*columns, strict=True):
        yield Trade(pair, trade_id, time, price, qty, side, ord_type, misc, source, received)


def _values(column: pa.Array) -> list[object]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return list(column.to_pylist())
