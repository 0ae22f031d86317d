"""A scan as a polars LazyFrame: polars reads the files itself when the frame is collected."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from recorder import object_store
from recorder.archive.parquet import OpenFile
from recorder.archive.schema import TRADES
from recorder.errors import UsageError
from recorder.lazy_imports import Lazy
from recorder.object_store import is_address, located
from recorder.query import scan as scans
from recorder.query.arguments import Range
from recorder.query.journal_tail import NONE
from recorder.query.scan import Part, Scan

if TYPE_CHECKING:
    import polars as pl
    import pyarrow.dataset as ds
else:
    ds = Lazy("pyarrow.dataset")  # imports what only few need
    pl = Lazy("polars")  # an extra

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def lazy_frame(scan: Scan) -> pl.LazyFrame:
    """Return the trades of a scan, pair after pair, in ascending id. Raise UsageError without polars."""
    try:
        from polars.io.plugins import register_io_source  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise UsageError("polars is not installed: pip install 'kraken-recorder[polars]'") from error

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = _Wanted(columns, predicate, rows)

        def load(pair: str, parts: Sequence[Part], tail: pa.Table) -> pl.DataFrame:
            return wanted.of(_all(scan.limits, pair, parts, tail))

        for pair in scan.pairs:
            for frame in scans.read(scan, pair, load):
                yield from frame.iter_slices(size) if size else [frame]
                if wanted.rows == 0:
                    return

    return register_io_source(source, schema=_frame(NONE).schema)


class _Wanted:
    """What polars asks a source for: columns, a predicate, and the number of ``rows`` to read before it applies."""

    def __init__(self, columns: Sequence[str] | None, predicate: pl.Expr | None, rows: int | None) -> None:
        self._columns = columns
        self._predicate = predicate
        self.rows = rows

    def of(self, found: pl.LazyFrame) -> pl.DataFrame:
        """Return the wanted rows among those that were found. Raise FileNotFoundError."""
        if self.rows is not None:
            if self._columns is not None:
                needed = [] if self._predicate is None else self._predicate.meta.root_names()
                found = found.select(list(dict.fromkeys([*self._columns, *needed])))
            first = found.head(self.rows).collect()
            self.rows -= first.height
            found = first.lazy()
        if self._predicate is not None:
            found = found.filter(self._predicate)
        return (found if self._columns is None else found.select(self._columns)).collect()


def _all(limits: Range, pair: str, parts: Sequence[Part], tail: pa.Table) -> pl.LazyFrame:
    """Return all rows of the parts and of the tail that are in the range, in ascending id."""
    frames = [_of_file(part) for part in parts if not part.whole or part.footer.is_old]
    if whole := [part.path for part in parts if part.whole and not part.footer.is_old]:
        frames.append(_of_files(whole))
    labelled = [frame.select(pl.lit(pair).alias("pair"), *TRADES.names) for frame in frames]
    found = pl.concat([*labelled, *([_frame(tail).lazy()] if tail.num_rows else [])])
    if len(labelled) + bool(tail.num_rows) > 1 or _overlap(parts):
        found = found.sort("trade_id")
    if limits.start_us is not None:
        found = found.filter(pl.col("time") >= _EPOCH + timedelta(microseconds=limits.start_us))
    if limits.stop_us is not None:
        found = found.filter(pl.col("time") < _EPOCH + timedelta(microseconds=limits.stop_us))
    return found


def _of_files(paths: list[str]) -> pl.LazyFrame:
    if not is_address(paths[0]):
        return pl.scan_parquet(paths, hive_partitioning=False)
    files, objects = object_store.arrow_files(paths)
    return pl.scan_pyarrow_dataset(ds.dataset(objects, filesystem=files, schema=TRADES, format="parquet"))


def _of_file(part: Part) -> pl.LazyFrame:
    """Return the rows of a file that has others too, or is of an older schema version."""
    if not part.footer.is_old:
        found = _of_files([part.path])
    else:
        with OpenFile(located(part.path)) as file:
            found = _frame(file.table(columns=TRADES.names)).lazy()
    spans = [pl.col("trade_id").is_between(span.first, span.last) for span in part.ids]
    return found.filter(pl.any_horizontal(spans))


def _overlap(parts: Sequence[Part]) -> bool:
    return any(later.first_id < earlier.last_id for earlier, later in itertools.pairwise(parts))


def _frame(table: pa.Table) -> pl.DataFrame:
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
