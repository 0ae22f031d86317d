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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive import tables
from recorder.archive.schema import Footer
from recorder.archive.tables import TABLES, TRADES, Branch, Table, branch_named
from recorder.disk import ASIDE, Disk
from recorder.errors import ArchiveInUse, CorruptFile, DiskError, NoSuchArchive, StorageError, UsageError

NO_PARTITION: Final = "__none__"
"""No pair and no timeframe has this name: the empty file that each table is born with lies there. Not Hive's own word
for null, since pandas cannot read a column of names with a null among them."""
SCHEMA_FILE: Final = "schema.parquet"
SUFFIX: Final = ".parquet"
_LOCK: Final = ".lock"
_YEAR: Final = "year="
_NO_YEAR: Final = 1970
_ATTEMPTS: Final = 50
"""A folder is compacted, a segment drained, every few minutes; meeting so many in a row is no coincidence."""
_Seen = TypeVar("_Seen")


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
        self.quarantine = data / "quarantine"
        self.trades = self.folder(TRADES)
        self.instruments = self.folder(tables.INSTRUMENTS)
        self.staging = data / ".staging"
        self.exchange = data / ".staging" / "exchange"
        self.locks = data / ".locks"
        self.lock = data / ".lock"
        self.turns = data / ".locks" / "requests.turns"
        self.attempts = data / ".locks" / "connections.turns"

    def pair_dir(self, pair: str) -> Path:
        """Return the partition of ``pair``. The name is percent-encoded, so no pair can leave the archive."""
        return self.home(Branch(TRADES, pair))

    def year_dir(self, pair: str, year: int) -> Path:
        """Return the partition of one UTC year of ``pair``."""
        return self.leaf(Branch(TRADES, pair), year)

    def pairs(self) -> list[str]:
        """Return the pairs that have a partition, sorted."""
        return [str(branch.value) for branch in self.branches(TRADES)]

    def years(self, pair: str) -> list[Path]:
        """Return the year partitions of ``pair``, oldest first."""
        return self.leaves(Branch(TRADES, pair))

    def trade_files(self, pair: str) -> list[Path]:
        """Return the files of ``pair``, sorted by path. Raises FileNotFoundError where a compaction came between."""
        return [year / name for year in self.years(pair) for name in listed(year)]

    def folder(self, table: Table) -> Path:
        """Return the folder of a table."""
        return self.data / table.name

    def branches(self, table: Table) -> list[Branch]:
        """Return the branches that a table has, sorted."""
        if table.partition is None:
            return [Branch(table)]
        prefix = f"{table.partition}="
        names = [path.name for path in self.folder(table).glob(f"{prefix}*") if path.is_dir()]
        values = (name.removeprefix(prefix) for name in names)
        return [Branch(table, value) for value in sorted(unquote(value) for value in values if value != NO_PARTITION)]

    def home(self, branch: Branch) -> Path:
        """Return the folder in which the leaves of a branch lie: the folders that hold its files."""
        if branch.value is not None:
            return self.folder(branch.table) / branch.name
        return self.data if branch.table.year_of is None else self.folder(branch.table)

    def leaf(self, branch: Branch, year: int | None) -> Path:
        """Return the leaf of one UTC year; without a year that of a table which is not parted by years."""
        return self.folder(branch.table) if year is None else self.home(branch) / f"{_YEAR}{year}"

    def leaves(self, branch: Branch) -> list[Path]:
        """Return the leaves that a branch has, oldest first."""
        if branch.table.year_of is None:
            return [self.folder(branch.table)]
        years = self.home(branch).glob(f"{_YEAR}*")
        # What people put beside a partition, like year=2025.tar, is none.
        return sorted(year for year in years if year_of(year) is not None and year.is_dir())

    def built(self, branch: Branch) -> Path:
        """Return where a compaction builds leaves of ``branch`` anew, under its lock."""
        return self.exchange / branch.name

    def create(self, disk: Disk) -> None:
        """Create what is missing: folders, and in each table one empty file that carries the schema.

        A glob without files is an error in DuckDB; this way a view is right from the first moment. Raises
        UnknownVersion where a newer release has written here.
        """
        for directory in (self.data, self.staging, self.exchange, self.locks):
            disk.make_dir(directory)
        # A table's own folder may lie aside after a cut compaction: one made anew would take its name.
        _mend_all(self, disk, (Branch(table) for table in TABLES if table.partition is None))
        with staging(self, disk) as private:
            for table in TABLES:
                born = self.born(table)
                disk.make_dir(born.parent)
                if not _is_todays(born):
                    write(table.columns.empty_table(), Footer(table.name), born, disk, staged_in=private)

    def born(self, table: Table) -> Path:
        """Return the file without rows that a table is born with."""
        folder = self.folder(table)
        if table.partition is not None:
            folder /= f"{table.partition}={NO_PARTITION}"
        if table.year_of is not None:
            folder /= f"{_YEAR}{_NO_YEAR}"
        return folder / SCHEMA_FILE


def existing(data: Path) -> Layout:
    """Return the layout of the archive at ``data``. Raises NoSuchArchive where there is none."""
    layout = Layout(data)
    if not layout.trades.is_dir():
        raise NoSuchArchive(f"there is no archive at {data}: record one with `recorder run --data {data}`")
    return layout


def undisturbed(look: Callable[[], _Seen], of: str) -> _Seen:
    """Return what ``look`` sees of some files once none of them is taken away, by a compaction or a drain, meanwhile.

    That is what a FileNotFoundError tells; then it looks again. Raises StorageError, which names the files (``of``),
    where it never ends.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            return look()
    raise StorageError(f"{of} keep changing faster than they can be read")


def _is_todays(born: Path) -> bool:
    """Tell whether a table's first file is there, and of today's version. Raises UnknownVersion.

    It is brought up to date before anything of a newer version is written, so that it tells an older release to keep
    away. It holds no rows: damaged, it is written anew.
    """
    try:
        return not Footer.decode(pq.read_metadata(born).metadata, str(born)).is_old
    except (FileNotFoundError, CorruptFile, pa.ArrowInvalid):
        return False
    except OSError as error:
        if error.errno is None:  # pyarrow's own, of a footer that it cannot parse
            return False
        raise DiskError(f"cannot read {born}: {error.strerror}") from error


def remedy(path: Path) -> str:
    """Return what to do about a file of a table that is damaged; its place says of which table."""
    if path.name == SCHEMA_FILE:
        return "remove it; `recorder run` writes it anew when it starts"
    by_name = {table.name: table for table in TABLES}
    return next((by_name[part].remedy for part in reversed(path.parts) if part in by_name), TRADES.remedy)


def on_one_line(error: Exception) -> str:
    """Return what an error says, which in pyarrow's case may be several lines."""
    return " ".join(str(error).split()).removesuffix(".")


def year_of(leaf: Path) -> int | None:
    """Return the UTC year of a leaf; None where it is not parted by years."""
    digits = leaf.name.removeprefix(_YEAR)
    return int(digits) if leaf.name.startswith(_YEAR) and digits.isdecimal() else None


def new_name(first: int, last: int) -> str:
    """Return a file name for people: the lowest and highest id (or segment), and something that never comes again."""
    return f"{first:012d}-{last:012d}-{uuid.uuid4().hex[:16]}{SUFFIX}"


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


_DELTA: Final = frozenset(("trade_id", "time", "received", "seen", "valid_from", "count"))
_WORDS: Final = frozenset(("price", "side", "ord_type", "misc", "source", "pair", "kind", "open", "close"))


def writer(sink: object, columns: pa.Schema, footer: Footer, *, level: int = FRESH_LEVEL) -> pq.ParquetWriter:
    """Open a Parquet writer with the encodings that won (measured on real trades, DESIGN 9)."""
    delta = _DELTA & set(columns.names)
    words = [name for name in columns.names if name in _WORDS]
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
    named = (branch_named(folder.name) for folder in layout.exchange.iterdir())
    _mend_all(layout, disk or Disk(), (branch for branch in named if branch is not None))


def _mend_all(layout: Layout, disk: Disk, branches: Iterable[Branch]) -> None:
    """Mend branches that nobody is at."""
    for branch in branches:
        with contextlib.suppress(ArchiveInUse), branch_lock(layout, branch, wait=False):
            mend(layout, disk, branch)


def mend(layout: Layout, disk: Disk, branch: Branch) -> None:
    """Finish or undo what a compaction of ``branch`` that was cut left behind. Call it under the branch's lock.

    After a cut between the renames that stand in for an exchange, a leaf lies aside: it gets its name back. All
    else is rubbish, but only when the names in the table are durable: until then the files that were exchanged
    away may be the only ones that a power cut leaves.
    """
    left = layout.built(branch)
    if not left.is_dir():
        return
    home = layout.home(branch)
    for aside in left.glob(f"*{ASIDE}"):
        if not (home / aside.stem).exists():
            disk.rename(aside, home / aside.stem)
    if home.is_dir():
        disk.sync_dir(home)
    disk.remove_tree(left)


def _sweep_lock(layout: Layout) -> Path:
    return layout.locks / "sweep.lock"


@contextlib.contextmanager
def branch_lock(layout: Layout, branch: Branch, *, wait: bool = True) -> Iterator[None]:
    """Hold the write lock of ``branch``, waiting for whoever has it. Readers take no lock."""
    with hold(layout.locks / f"{branch.name}{_LOCK}", wait=wait):
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
