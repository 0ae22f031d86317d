"""Read archived rows: as today's version of the schema has them, and as the model's trades (for checks)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive.files import Layout
from recorder.archive.schema import TRADES, Footer
from recorder.archive.versions import upgraded
from recorder.core.model import Trade

_BATCH: Final = 50_000


def batches(
    parquet: pq.ParquetFile,
    footer: Footer,
    size: int,
    *,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
    use_threads: bool = True,
) -> Iterator[pa.Table]:
    """Yield rows of a file with this footer, at most ``size`` at a time, with these columns or with all of them.

    Every reader of rows goes this way: those of an older version come out as today's. Raises KeyError for a column
    that is not there; pyarrow's errors for damage.
    """
    groups = range(parquet.num_row_groups) if row_groups is None else row_groups
    # Whoever upgrades rows may need any column of them.
    stored = None if columns is None or footer.is_old else list(columns)
    for batch in parquet.iter_batches(size, row_groups=groups, columns=stored, use_threads=use_threads):
        rows = upgraded(pa.Table.from_batches([batch]), footer.table, footer.version)
        yield rows if columns is None else rows.select(columns)


def footer_of(parquet: pq.ParquetFile, path: Path | str) -> Footer:
    """Return the footer of an open file. Raises CorruptFile, UnknownVersion."""
    return Footer.decode(parquet.metadata.metadata, str(path))


def columns_of(parquet: pq.ParquetFile, footer: Footer) -> pa.Schema:
    """Return the columns of a file, as :func:`batches` gives them."""
    return upgraded(parquet.schema_arrow.empty_table(), footer.table, footer.version).schema


def trades(layout: Layout, pair: str) -> Iterator[Trade]:
    """Yield every archived row of ``pair``, file after file, in bounded memory."""
    for path in layout.trade_files(pair):
        yield from file_trades(path, pair)


def file_trades(path: Path, pair: str) -> Iterator[Trade]:
    """Yield the rows of one file, which belongs to ``pair``."""
    with pq.ParquetFile(path) as parquet:
        for rows in batches(parquet, footer_of(parquet, path), _BATCH):
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
