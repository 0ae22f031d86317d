"""Where things lie: the folders of an archive, the names in them, what is staged, and the locks.

Names say nothing that is trusted: coverage comes from footers. A name is never used twice. What is staged is
rubbish once its process is gone, except between the renames that stand in for an exchange: see :func:`mend`.
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
from recorder.disk import ASIDE, Disk
from recorder.errors import ArchiveInUse, DiskError, UsageError

NO_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
"""The value that every Hive reader takes for null; the empty file that each table is born with lies there."""
SCHEMA_FILE: Final = "schema.parquet"
SUFFIX: Final = ".parquet"
_LOCK: Final = ".lock"


class Layout:
    """The paths of the archive at ``data``. Raises UsageError for a place where readers would misread them."""

    def __init__(self, data: Path) -> None:
        for part in data.absolute().parts:
            if part.startswith(("pair=", "timeframe=")) or "\\" in part:
                raise UsageError(
                    f"{data} lies in a folder named {part!r}, which readers of Parquet would take for a partition or "
                    "a pattern: put the archive elsewhere"
                )
        self.data = data
        self.journal = data / "journal"
        self.raw = data / "raw"
        self.trades = data / "trades"
        self.instruments = data / "instruments"
        self.staging = data / ".staging"
        self.exchange = data / ".staging" / "exchange"
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
        return sorted(_pairs_in(self.trades))

    def built_dir(self, pair: str) -> Path:
        """Return where a compaction builds years of ``pair`` anew, under the pair's lock."""
        return self.exchange / self.pair_dir(pair).name

    def years(self, pair: str) -> list[Path]:
        """Return the year partitions of ``pair``, oldest first."""
        years = self.pair_dir(pair).glob("year=*")
        # What people put beside a partition, like year=2025.tar, is none.
        return sorted(year for year in years if year.name.removeprefix("year=").isdecimal() and year.is_dir())

    def trade_files(self, pair: str) -> list[Path]:
        """Return the files of ``pair``, sorted by path. Raises FileNotFoundError where a compaction came between."""
        return [year / name for year in self.years(pair) for name in listed(year)]

    def create(self, disk: Disk) -> None:
        """Create what is missing: folders, and in each table one empty file that carries the schema.

        A glob without files is an error in DuckDB; this way a view is right from the first moment.
        """
        for directory in (self.data, self.trades, self.instruments, self.staging, self.exchange, self.locks):
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
    return f"{first_id:012d}-{last_id:012d}-{uuid.uuid4().hex[:16]}{SUFFIX}"


def _pairs_in(directory: Path) -> list[str]:
    names = [path.name.removeprefix("pair=") for path in directory.glob("pair=*") if path.is_dir()]
    return [unquote(name) for name in names if name != NO_PARTITION]


def listed(directory: str | Path) -> list[str]:
    """Return the names of the Parquet files in one directory, wholly or not at all.

    A compaction exchanges the directory for another and then empties it. Who is still reading it then sees fewer
    files than there ever were; so it must still bear its name after it was read. (Globs do not ask: DuckDB's passes
    over a name that is gone when it looks again, and misses rows without a word.)
    Raises FileNotFoundError where a compaction came between.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(name for name in os.listdir(handle) if name.endswith(SUFFIX))  # noqa: PTH208 -- a handle
        if not os.path.samestat(os.stat(directory), os.fstat(handle)):  # noqa: PTH116 -- thousands of times
            raise FileNotFoundError(f"{directory} was exchanged while it was listed")
    finally:
        os.close(handle)
    return names


def write(table: pa.Table, footer: Footer, path: Path, disk: Disk, *, staged_in: Path) -> int:
    """Write ``table`` so that ``path`` is either whole and durable or not there: aside, sync, rename, sync.

    Returns its bytes.
    """
    sink = pa.BufferOutputStream()
    with writer(sink, table.schema, footer) as parquet:
        parquet.write_table(table, row_group_size=ROW_GROUP)
    content = sink.getvalue()
    staged = staged_in / path.name
    with disk.create(staged) as file:
        disk.write(file, memoryview(content))
        disk.sync(file)
    disk.rename(staged, path)
    disk.sync_dir(path.parent)
    return int(content.size)


ROW_GROUP: Final = 122_880
"""DuckDB scans in groups of this many rows; whole groups parallelise best (measured, DESIGN 9)."""


FRESH_LEVEL: Final = 1
"""zstd level of what is appended: it will be rewritten soon, and the drain should be fast."""
MERGED_LEVEL: Final = 9
"""zstd level of what is merged: 5 % smaller on real trades than level 3, and nobody waits for it."""


def writer(sink: object, columns: pa.Schema, footer: Footer, *, level: int = FRESH_LEVEL) -> pq.ParquetWriter:
    """Open a Parquet writer with the encodings that won (measured on real trades, DESIGN 9)."""
    delta = {"trade_id", "time", "received"} & set(columns.names)
    words = [name for name in columns.names if name in {"price", "side", "ord_type", "misc", "source"}]
    parquet = pq.ParquetWriter(
        sink,
        columns,
        version="2.6",
        compression="zstd",
        compression_level=level,
        use_dictionary=words,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        store_schema=False,
        write_page_checksum=True,  # so that a merge never passes a flipped bit on
    )
    parquet.add_key_value_metadata(footer.encode())
    return parquet


@contextlib.contextmanager
def staging(layout: Layout, disk: Disk) -> Iterator[Path]:
    """Give this process a private folder on the archive's file system, and take it away afterwards."""
    private = layout.staging / uuid.uuid4().hex
    with contextlib.ExitStack() as held:
        # A sweep must never meet a lock file that is made but not locked yet.
        with hold(_sweep_lock(layout), wait=True):
            held.enter_context(hold(private.with_suffix(_LOCK)))
            disk.make_dir(private)
        try:
            yield private
        finally:
            # Rubbish by definition; should this fail, the next start sweeps it away.
            shutil.rmtree(private, ignore_errors=True)
            with contextlib.suppress(OSError):
                private.with_suffix(_LOCK).unlink()


def sweep_staging(layout: Layout, disk: Disk | None = None) -> None:
    """Take away what processes that are gone left in staging; what a living one holds locked stays."""
    with hold(_sweep_lock(layout), wait=True):
        for lock in layout.staging.glob(f"*{_LOCK}"):
            with contextlib.suppress(ArchiveInUse), hold(lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        for folder in layout.staging.iterdir():
            if folder != layout.exchange and folder.is_dir() and not folder.with_suffix(_LOCK).exists():
                shutil.rmtree(folder, ignore_errors=True)

    for pair in _pairs_in(layout.exchange):
        with contextlib.suppress(ArchiveInUse), pair_lock(layout, pair, wait=False):
            mend(layout, disk or Disk(), pair)


def mend(layout: Layout, disk: Disk, pair: str) -> None:
    """Finish or undo what a compaction of ``pair`` that was cut left behind. Call it under the pair's lock.

    After a cut between the renames that stand in for an exchange, a year lies aside: it gets its name back. All
    else is rubbish, but only when the names in the table are durable: until then the files that were exchanged
    away may be the only ones that a power cut leaves.
    """
    left = layout.built_dir(pair)
    if not left.is_dir():
        return
    table = layout.pair_dir(pair)
    for aside in left.glob(f"year=*{ASIDE}"):
        if not (table / aside.stem).exists():
            disk.rename(aside, table / aside.stem)
    if table.is_dir():
        disk.sync_dir(table)
    disk.remove_tree(left)


def _sweep_lock(layout: Layout) -> Path:
    return layout.locks / "sweep.lock"


@contextlib.contextmanager
def pair_lock(layout: Layout, pair: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the write lock of ``pair``, waiting for whoever has it. Readers take no lock."""
    # The prefix keeps a pair of whatever name apart from the other locks here.
    with hold(layout.locks / f"pair={quote(pair, safe='')}{_LOCK}", wait=wait):
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
        except OSError as error:
            raise DiskError(f"cannot lock {path}: {error.strerror}; locks are needed, on every mount") from error
        yield
    finally:
        os.close(handle)
