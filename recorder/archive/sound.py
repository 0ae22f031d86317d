"""What makes a file of a table without ids sound: candles, events, listings. Trades have their own: ``verify``.

Owns: holding such a file against its footer, its place and its checksums, for whoever proves an archive and whoever
takes rows over into another. Takes no lock: the files of a folder are opened together, before the first row is read, so
that a compaction meanwhile takes nothing away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recorder.archive import files, read
from recorder.archive.files import NO_PARTITION, Layout, remedy
from recorder.archive.schema import TIME, Footer
from recorder.archive.tables import EVENTS, OHLC, TABLES, TRADES, Branch, branch_named
from recorder.archive.verify import (
    ALL_DAYS,
    DAMAGE,
    NO_FOOTER,
    OTHER_COLUMNS,
    Days,
    Finding,
    columns,
    damage,
    parquet_in,
)
from recorder.core.certificate import DAY_US
from recorder.core.model import TIMEFRAMES
from recorder.errors import CorruptFile

_BATCH: Final = 32_768
_US_PER_MINUTE: Final = 60_000_000
_MOVED: Final = "move it back to where it belongs, or out of the archive"


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is open, whatever becomes of its name."""

    path: Path
    parquet: pq.ParquetFile
    footer: Footer

    def rows(
        self, *, columns: Sequence[str] | None = None, row_groups: Sequence[int] | None = None
    ) -> Iterator[pa.Table]:
        """Yield its rows as they are today."""
        return read.batches(
            self.parquet, self.footer, _BATCH, columns=columns, row_groups=row_groups, use_threads=False
        )


def opened(
    leaf: Path, branch: Branch, stack: contextlib.ExitStack, *, through: bool = True
) -> tuple[list[Opened], list[Finding]]:
    """Open the files of a folder together; a folder may be missing.

    Returns those that are sound and have rows, and what is wrong with others. ``through`` reads all of them, else only
    what they say of themselves counts. Raises UnknownVersion; StorageError if the files keep changing faster than they
    can be listed.
    """

    def attempt() -> list[Opened | Finding]:
        with contextlib.ExitStack() as held:
            names = files.listed(leaf) if leaf.is_dir() else []
            found = [_open(leaf / name, branch, held) for name in names]
            stack.push(held.pop_all())
            return found

    found = files.undisturbed(attempt, f"the files in {leaf}")
    if through:
        found = [one if isinstance(one, Finding) else _through(one, branch) or one for one in found]
    return (
        [one for one in found if not isinstance(one, Finding) and one.parquet.metadata.num_rows],
        [one for one in found if isinstance(one, Finding)],
    )


def findings(
    layout: Layout, *, days: Days | None = ALL_DAYS, done: Callable[[int], None] = lambda _: None
) -> Iterator[Finding]:
    """Read every file but those of pairs, and yield what is wrong with them.

    Of candles only the years that ``days`` touch, with None nothing at all but events, on which certificates rest.
    ``done`` is told the bytes of files as they are dealt with. Raises as :func:`opened` does.
    """
    for branch, leaf in _folders(layout, days):
        size = _size(leaf)
        with contextlib.ExitStack() as stack:
            yield from opened(leaf, branch, stack)[1]
        done(size)
    if days is not None:
        yield from _strays(layout)


def size(layout: Layout, days: Days | None = ALL_DAYS) -> int:
    """Return the bytes of all these files, about: what ``done`` is told in all."""
    return sum(_size(leaf) for _, leaf in _folders(layout, days))


def wrong(data: Path, path: Path) -> Finding | None:
    """Read one file of whatever table of the archive at ``data`` through, and return what is wrong with it.

    Raises UnknownVersion; FileNotFoundError where it is gone.
    """
    name, *rest = path.relative_to(data).parts
    table = next((table for table in TABLES if table.name == name), None)
    if table is None:
        return None
    branch = Branch(table) if table.partition is None else branch_named(rest[0]) or Branch(table)
    with contextlib.ExitStack() as stack:
        found = _open(path, branch, stack)
        return found if isinstance(found, Finding) else _through(found, branch)


def _folders(layout: Layout, days: Days | None) -> Iterator[tuple[Branch, Path]]:
    """Return the folders to read, with those in which the empty files lie that tables are born with."""
    for table in (EVENTS,) if days is None else (table for table in TABLES if table is not TRADES):
        for branch in layout.branches(table):
            for leaf in layout.leaves(branch):
                year = files.year_of(leaf)
                if table is not OHLC or days is None or year is None or days.has_year(year):
                    yield branch, leaf
    if days is not None:
        for table in (table for table in TABLES if table.partition is not None):
            yield Branch(table, NO_PARTITION), layout.born(table).parent


def _size(leaf: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum((leaf / name).stat().st_size for name in files.listed(leaf))
    return 0


def _strays(layout: Layout) -> Iterator[Finding]:
    """Find Parquet files that readers may meet, and that lie where none belongs; but for those of pairs."""
    for table in TABLES:
        folder = layout.folder(table)
        branches = [Branch(table, NO_PARTITION), *(layout.branches(table) if table is not TRADES else ())]
        leaves = {leaf for branch in branches for leaf in layout.leaves(branch)}
        of_pairs = {layout.home(branch) for branch in layout.branches(table)} if table is TRADES else set()
        for entry in sorted(folder.iterdir()):
            for path in [] if entry in of_pairs else parquet_in(entry):
                if path.parent not in leaves:
                    yield Finding(path, f"lies in no folder of the table {table.name}", _MOVED)


def _open(path: Path, branch: Branch, stack: contextlib.ExitStack) -> Opened | Finding:
    """Open a file, and hold what it says of itself against its place. Raises UnknownVersion, FileNotFoundError."""
    table = branch.table
    try:
        parquet = stack.enter_context(pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False))
        footer = read.footer_of(parquet, path)
        same = columns(parquet, footer).equals(table.columns)
    except FileNotFoundError:
        raise
    except CorruptFile:
        return Finding(path, NO_FOOTER, remedy(path))
    except DAMAGE as error:
        return Finding(path, damage(error), remedy(path))
    if footer.table != table.name:
        return Finding(path, f"says it holds {footer.table}, and lies among {table.name}", _MOVED)
    if not same:
        return Finding(path, OTHER_COLUMNS.format(table.name), remedy(path))
    if branch.value == NO_PARTITION and parquet.metadata.num_rows:
        return Finding(path, "holds rows, and lies where the table has none", _MOVED)
    return Opened(path, parquet, footer)


def _through(file: Opened, branch: Branch) -> Finding | None:
    """Read all rows of a file: its pages must be as they were written, and its rows where they belong."""
    metadata, names = file.parquet.metadata, [] if file.footer.is_old else branch.table.order
    held = 0
    try:
        for group in range(metadata.num_row_groups):
            ends: dict[str, list[Any]] = {name: [] for name in names}
            for rows in file.rows(row_groups=[group]):
                if (problem := _misplaced(rows, branch, files.year_of(file.path.parent))) is not None:
                    return Finding(file.path, problem, _MOVED)
                for name in names:
                    ends[name] += pc.min_max(_raw(rows[name])).as_py().values()
                held += rows.num_rows
            for name in names:
                claimed = metadata.row_group(group).column(metadata.schema.names.index(name)).statistics
                if claimed is not None and (claimed.min_raw, claimed.max_raw) != (min(ends[name]), max(ends[name])):
                    return Finding(file.path, f"holds other rows than its footer claims of {name}", remedy(file.path))
    except DAMAGE as error:
        return Finding(file.path, damage(error), remedy(file.path))
    if held != metadata.num_rows:
        return Finding(file.path, f"holds {held} rows, and its footer claims {metadata.num_rows}", remedy(file.path))
    return None


def _raw(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values as the statistics of a file have them."""
    return column.cast(
        pa.int64() if column.type == TIME else pa.binary() if column.type == pa.string() else column.type
    )


def _misplaced(rows: pa.Table, branch: Branch, year: int | None) -> str | None:
    """Return which row does not belong into its folder, if one does not."""
    table = branch.table
    if table.year_of is None or year is None or not rows.num_rows:
        return None
    for time in pc.min_max(rows[table.year_of]).as_py().values():
        if time.year != year:
            return f"holds a row of {time.year}, and lies in year={year}"
    step_us = TIMEFRAMES.get(branch.value or "", 0) * _US_PER_MINUTE if table is OHLC else 0
    # Candles of longer timeframes need not begin at a multiple of them.
    if step_us and DAY_US % step_us == 0:
        off = pc.indices_nonzero(pa.array(rows[table.year_of].cast(pa.int64()).to_numpy() % step_us))
        if len(off):
            time = rows[table.year_of][off[0].as_py()].as_py()
            return f"holds a candle that begins at {time:%Y-%m-%dT%H:%M:%SZ}, and lies in timeframe={branch.value}"
    return None
