"""Reading of archived trades as model objects (for checks), and of the source of a single trade."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.coverage import Coverage
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, OpenFile
from recorder.archive.schema import TRADES
from recorder.core.model import Trade
from recorder.disk import undisturbed

_BATCH: Final = 50_000
_BULK: Final = "bulk"


def trades(layout: Layout, pair: str) -> Iterator[Trade]:
    """Yield every archived row of ``pair``, file by file, in bounded memory."""
    for path in layout.trade_files(pair):
        yield from file_trades(path, pair)


def file_trades(path: Path, pair: str) -> Iterator[Trade]:
    """Yield the rows of one file, which belongs to ``pair``."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH):
            yield from of_rows(rows, pair)


def recorded(coverage: Coverage, pair: str, trade_id: int) -> bool:
    """Return whether a trade of ``pair`` came from the exchange itself, and not from imported files.

    True also if the trade is not archived yet, since then it is in the journal, or if its row cannot be read. Raises
    StorageError if files keep changing.
    """
    try:
        return undisturbed(lambda: _source(coverage, pair, trade_id), f"the files of {pair}") != _BULK
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
