"""Where things lie: the folders of an archive, the names in them, and the locks.

Names say nothing that is trusted: coverage comes from footers. A name is never used twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive import schema
from recorder.archive.schema import Footer
from recorder.disk import Disk
from recorder.errors import ArchiveInUse, DiskError

NO_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
"""The value that every Hive reader takes for null; the empty file that each table is born with lies there."""
SCHEMA_FILE: Final = "schema.parquet"


class Layout:
    """The paths of the archive at ``data``."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.journal = data / "journal"
        self.raw = data / "raw"
        self.trades = data / "trades"
        self.instruments = data / "instruments"
        self.staging = data / ".staging"
        self.locks = data / ".locks"
        self.lock = data / ".lock"

    def pair_dir(self, pair: str) -> Path:
        """Return the partition of ``pair``. The name is percent-encoded, so no pair can leave the archive."""
        return self.trades / f"pair={quote(pair, safe='')}"

    def year_dir(self, pair: str, year: int) -> Path:
        """Return the partition of one UTC year of ``pair``."""
        return self.pair_dir(pair) / f"year={year}"

    def pairs(self) -> list[str]:
        """Return the pairs that have a partition, sorted."""
        names = [path.name.removeprefix("pair=") for path in self.trades.glob("pair=*")]
        return sorted(unquote(name) for name in names if name != NO_PARTITION)

    def years(self, pair: str) -> list[Path]:
        """Return the year partitions of ``pair``, oldest first."""
        return sorted(self.pair_dir(pair).glob("year=*"))

    def trade_files(self, pair: str) -> list[Path]:
        """Return the files of ``pair``, sorted by path."""
        return [path for year in self.years(pair) for path in sorted(year.glob("*.parquet"))]

    def create(self, disk: Disk) -> None:
        """Create what is missing: folders, and in each table one empty file that carries the schema.

        A glob without files is an error in DuckDB; this way a view is right from the first moment.
        """
        for directory in (self.data, self.trades, self.instruments, self.staging, self.locks):
            disk.make_dir(directory)
        nowhere = self.trades / f"pair={NO_PARTITION}" / "year=1970"
        disk.make_dir(nowhere)
        with staging(self, disk) as private:
            for directory, columns, table in (
                (nowhere, schema.TRADES, "trades"),
                (self.instruments, schema.INSTRUMENTS, "instruments"),
            ):
                if not (directory / SCHEMA_FILE).exists():
                    write(columns.empty_table(), Footer(table), directory / SCHEMA_FILE, disk, staged_in=private)


def new_name(first_id: int, last_id: int) -> str:
    """Return a file name for people: the lowest and highest id, and something that never comes again."""
    return f"{first_id:012d}-{last_id:012d}-{uuid.uuid4().hex[:16]}.parquet"


def write(table: pa.Table, footer: Footer, path: Path, disk: Disk, *, staged_in: Path) -> None:
    """Write ``table`` so that ``path`` is either whole and durable or not there: aside, sync, rename, sync."""
    sink = pa.BufferOutputStream()
    with writer(sink, table.schema, footer) as parquet:
        parquet.write_table(table, row_group_size=ROW_GROUP)
    staged = staged_in / path.name
    with disk.create(staged) as file:
        disk.write(file, memoryview(sink.getvalue()))
        disk.sync(file)
    disk.rename(staged, path)
    disk.sync_dir(path.parent)


ROW_GROUP: Final = 122_880
"""DuckDB scans in groups of this many rows; whole groups parallelise best (measured, DESIGN 9)."""


def writer(sink: object, columns: pa.Schema, footer: Footer) -> pq.ParquetWriter:
    """Open a Parquet writer with the encodings that won (measured on real trades, DESIGN 9)."""
    delta = {"trade_id", "time", "received"} & set(columns.names)
    words = [name for name in columns.names if name in {"price", "side", "ord_type", "misc", "source"}]
    parquet = pq.ParquetWriter(
        sink,
        columns,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=words,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        store_schema=False,
    )
    parquet.add_key_value_metadata(footer.encode())
    return parquet


@contextlib.contextmanager
def staging(layout: Layout, disk: Disk) -> Iterator[Path]:
    """Give this process a private folder on the archive's file system, and take it away afterwards."""
    private = layout.staging / uuid.uuid4().hex
    with hold(private.with_suffix(".lock")):
        disk.make_dir(private)
        try:
            yield private
        finally:
            # Rubbish by definition; should this fail, the next start sweeps it away.
            shutil.rmtree(private, ignore_errors=True)
            with contextlib.suppress(OSError):
                private.with_suffix(".lock").unlink()


def sweep_staging(layout: Layout) -> None:
    """Remove what processes that are gone left in staging; what a living one holds locked stays."""
    for lock in layout.staging.glob("*.lock"):
        with contextlib.suppress(ArchiveInUse), hold(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def pair_lock(layout: Layout, pair: str) -> Iterator[None]:
    """Hold the write lock of ``pair``, waiting for whoever has it. Readers take no lock."""
    with hold(layout.locks / f"{quote(pair, safe='')}.lock", wait=True):
        yield


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold an advisory lock; the system lets go of it if the process dies. Raises ArchiveInUse if held elsewhere."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskError(f"cannot open the lock {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveInUse(f"{path} is held by another process") from error
        yield
    finally:
        os.close(handle)
