"""The tables without ids (ohlc, events, instruments) at one moment: which files, and how far the rows in them count.

Owns: a listing that no compaction can tear, and how a kept moment is found again after one. These rows are drained in
the order in which they came, a whole journal segment at a time into each folder, so the newest stamp in a folder says
which rows were there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import WITHOUT_IDS, Dataset
from recorder.archive.layout import Layout, listed
from recorder.archive.parquet import OpenFile, read_facts
from recorder.disk import listing
from recorder.errors import StorageError
from recorder.query import ordering

STAMPS: Final[Mapping[Dataset, str]] = {dataset: dataset.stamp for dataset in WITHOUT_IDS if dataset.stamp is not None}
"""The tables without ids, and in which column each says when its rows came."""

_BATCH: Final = 65_536


@dataclass(frozen=True, slots=True)
class TableFiles:
    """Files of one table: all rows of ``files`` belong to the moment, of ``cut_files`` those up to the folder's stamp.

    Both end with the table's empty schema file: a list without files is an error in DuckDB.
    """

    files: tuple[str, ...]
    cut_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """How many rows there are, and the newest stamp among them (µs since 1970 UTC)."""

    rows: int
    last_us: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What the footer of one file says: its rows, and its oldest and newest stamp."""

    rows: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Stamped:
    """The files of each table, by its name; of a moment that is kept also what each folder held."""

    tables: Mapping[str, TableFiles]
    folders: Mapping[str, Extent]


class StampedListing:
    """The files of these tables, listed anew at every call. Every method may raise FileNotFoundError: try again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[str, _Held] = {}
        self._checked: set[str] = set()

    def now(self) -> Stamped:
        """Return the files there are now. Raises StorageError where a table is not there."""
        found = {}
        for table in STAMPS:
            born = self._born(table)
            found[table.name] = TableFiles(_planned(self._folders(table).values(), born), (born,))
        return Stamped(found, {})

    def keep(self, moment: Stamped) -> Stamped:
        """Return the moment such that :meth:`find_again` can: reads each footer, once."""
        folders: dict[str, Extent] = {}
        for table, stamp in STAMPS.items():
            for path in moment.tables[table.name].files[:-1]:
                held, folder = self._held(path, stamp), str(Path(path).parent)
                before = folders.get(folder, Extent(0, held.last_us))
                folders[folder] = Extent(before.rows + held.rows, max(before.last_us, held.last_us))
        return replace(moment, folders=folders)

    def find_again(self, kept: Stamped) -> Stamped:
        """Return the same rows in the files that hold them now. Raises StorageError if some are gone."""
        found = {}
        for table, stamp in STAMPS.items():
            born, before = self._born(table), set(kept.tables[table.name].files)
            whole: list[str] = []
            cut: list[str] = []
            now = self._folders(table)
            for folder, extent in kept.folders.items():
                if Path(folder).is_relative_to(self._layout.folder(table)):
                    rows = 0
                    for path in now.get(folder, ()):
                        held = self._held(path, stamp)
                        if path in before or held.last_us <= extent.last_us:
                            whole.append(path)
                            rows += held.rows
                        elif held.first_us <= extent.last_us:
                            cut.append(path)
                            rows += _rows_until(path, stamp, extent.last_us)
                    if rows < extent.rows:
                        raise StorageError(
                            f"{extent.rows - rows} rows of {folder} were in the archive and are gone: were files "
                            f"deleted by hand? refresh() takes what is there now"
                        )
            found[table.name] = TableFiles(_planned([whole], born), _planned([cut], born))
        return replace(kept, tables=found)

    def _born(self, table: Dataset) -> str:
        born = self._layout.born(table)
        with listing(born.parent):
            there = born.is_file()
        if not there:
            raise StorageError(
                f"the archive's table {table.name} is not there ({born}): `recorder run --data {self._layout.data}` "
                f"puts it there when it starts"
            )
        if str(born) not in self._checked:  # a newer release marks it first
            read_facts(born)
            self._checked.add(str(born))
        return str(born)

    def _folders(self, table: Dataset) -> dict[str, list[str]]:
        """Return the files of each folder of the table, but for the one it was born with."""
        born = self._layout.born(table)
        leaves = (leaf for branch in self._layout.branches(table) for leaf in self._layout.leaves(branch))
        return {
            str(leaf): [f"{leaf}/{name}" for name in listed(leaf) if (leaf, name) != (born.parent, born.name)]
            for leaf in leaves
        }

    def _held(self, path: str, stamp: str) -> _Held:
        if path not in self._known:  # a name is never used twice
            self._known[path] = _read_footer(path, stamp)
        return self._known[path]


def _planned(folders: Iterable[Sequence[str]], born: str) -> tuple[str, ...]:
    return ordering.planned(folders, ordering.bytes_in, born)


def _read_footer(path: str, stamp: str) -> _Held:
    with OpenFile(Path(path)) as file:
        return _Held(file.rows, *file.span(stamp))


def _rows_until(path: str, stamp: str, last_us: int) -> int:
    with OpenFile(Path(path)) as file:
        stamps = (rows[stamp].cast(pa.int64()) for rows in file.read(_BATCH, columns=[stamp]))
        return sum(int(pc.sum(pc.less_equal(part, last_us)).as_py() or 0) for part in stamps)
