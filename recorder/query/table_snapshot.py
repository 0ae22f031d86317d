"""Snapshots of the tables without ids (ohlc, events, instruments): their files, and up to which row each folder counts.

Contains a listing that is consistent under compactions, and how a retained snapshot is found again after one. These
rows are drained in the order of their arrival, a whole journal segment at a time into each folder, so the newest stamp
in a folder identifies its rows at that time.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa

from recorder import object_store
from recorder.archive import duplicate_files, parquet
from recorder.archive.datasets import EVENTS, WITHOUT_IDS, Branch, Dataset
from recorder.archive.footer import Footer
from recorder.archive.integrity import check_place, check_times
from recorder.archive.layout import Layout, listed
from recorder.archive.parquet import FileFacts, OpenFile, Stamp, read_facts, stamp
from recorder.disk import Disk, listing
from recorder.errors import StorageError, UnsoundFile
from recorder.lazy_imports import pc
from recorder.object_store import located
from recorder.query import file_order
from recorder.query.refused_files import FAULTS, Fault, failing_path

_BATCH: Final = 65_536


@dataclass(frozen=True, slots=True)
class TableFiles:
    """Files of one table: all rows of ``files`` are in the snapshot, of ``cut_files`` those up to the folder's stamp.

    Both end with the table's empty schema file: an empty list is an error in DuckDB.
    """

    files: tuple[str, ...]
    cut_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """The number of rows, and the newest stamp among them (µs since 1970 UTC)."""

    rows: int
    last_us: int


@dataclass(frozen=True, slots=True)
class _FooterFacts:
    """Facts from the footer of one file: its number of rows, and its oldest and newest stamp."""

    facts: FileFacts
    first_us: int
    last_us: int

    @property
    def rows(self) -> int:
        return self.facts.rows


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """The files of each table, by its name; in a retained snapshot also the extent of each folder.

    ``refused`` is why files of folders may not be read, by the path that is listed instead of them.
    """

    tables: Mapping[str, TableFiles]
    folders: Mapping[str, Extent]
    refused: Mapping[str, Fault] = field(default_factory=dict)


class TableSnapshots:
    """The files of these tables, listed anew at every call. Every method may raise FileNotFoundError: then retry."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[str, tuple[Stamp, _FooterFacts]] = {}
        self._checked_tables: dict[Dataset, Mapping[str, Stamp]] = {}
        self._checked: set[str] = set()

    def now(self, looked_at: Collection[Dataset] = (), pairs: Collection[str] | None = None) -> TableSnapshot:
        """Return the current files. Raise StorageError if a table does not exist.

        Of the tables ``looked_at``, files that claim the same rows as others, or are in the wrong folder, are refused,
        and so are those beside them; of events, always those that cannot be opened. A table that is partitioned by pair
        is listed only if it is looked at, and of these ``pairs`` only: it may have thousands of folders. Otherwise a
        query that reads it fails.
        """
        found: dict[str, TableFiles] = {}
        refused: dict[str, Fault] = {}
        for table in WITHOUT_IDS:
            schema_file = self._schema_file(table)
            if table.by_pair and table not in looked_at:
                unlisted = failing_path(str(self._layout.folder(table)))
                found[table.name] = TableFiles(_planned((), schema_file, [unlisted]), (schema_file,))
                refused[unlisted] = StorageError(f"the files of {table.name} were not listed for this query: report it")
                continue
            folders, instead = self._folders(table, pairs)
            # Events are read whenever a connection is pinned to a snapshot, and DuckDB would wait at a pipe for ever.
            if table in looked_at:
                instead |= self._refused(table, folders)
            elif table == EVENTS:
                instead |= _stamped(folders)[1]
            kept = [files for folder, files in folders.items() if folder not in instead]
            paths = {failing_path(folder): fault for folder, fault in instead.items()}
            found[table.name] = TableFiles(_planned(kept, schema_file, paths), (schema_file,))
            refused |= paths
        return TableSnapshot(found, {}, refused)

    def _refused(self, table: Dataset, folders: Mapping[str, Sequence[str]]) -> dict[str, Fault]:
        """Return the folders of a table whose files must not be read, and why."""
        stamps, found = _stamped(folders)
        if not found and self._checked_tables.get(table) == stamps:
            return {}
        facts: list[FileFacts] = []
        self._read_ahead(stamps)
        for path in stamps:
            try:
                facts.append(self._held(path, table).facts)
            except FAULTS as error:
                found.setdefault(str(located(path).parent), error)
        for finding in duplicate_files.same_segments(table, facts):
            found.setdefault(str(finding.file.parent), UnsoundFile(finding.file, finding.problem, finding.remedy))
        if not found:
            self._checked_tables[table] = stamps
        return found

    def pin(self, moment: TableSnapshot) -> TableSnapshot:
        """Return the snapshot in a form that :meth:`find_again` can find: reads each footer, once."""
        folders: dict[str, Extent] = {}
        for table in WITHOUT_IDS:
            schema_file = self._schema_file(table)
            paths = [path for path in moment.tables[table.name].files if path not in {schema_file, *moment.refused}]
            self._read_ahead(paths)
            for path in paths:
                held, folder = self._held(path, table), str(located(path).parent)
                before = folders.get(folder, Extent(0, held.last_us))
                folders[folder] = Extent(before.rows + held.rows, max(before.last_us, held.last_us))
        return replace(moment, folders=folders)

    def find_again(self, kept: TableSnapshot) -> TableSnapshot:
        """Return the same rows in the files that hold them now. Folders with rows that are gone are refused."""
        found = {}
        looked_for = {failing_path(folder) for folder in kept.folders}
        refused = {path: fault for path, fault in kept.refused.items() if path not in looked_for}
        for table in WITHOUT_IDS:
            schema_file, before = self._schema_file(table), set(kept.tables[table.name].files)
            whole: list[str] = []
            cut: list[str] = []
            now, unlisted = self._folders(table)
            refused |= {failing_path(folder): fault for folder, fault in unlisted.items()}
            for folder, extent in kept.folders.items():
                if not located(folder).is_relative_to(self._layout.folder(table)):
                    continue
                if any(located(folder).is_relative_to(one) for one in unlisted):
                    continue
                try:
                    of_folder = self._found_again(table, folder, now.get(folder, ()), before, extent)
                except FAULTS as error:
                    refused[failing_path(folder)] = error
                    continue
                whole += of_folder[0]
                cut += of_folder[1]
            # What was refused then stays refused: its rows of the snapshot are unknown.
            instead = [path for path in refused if located(path).is_relative_to(self._layout.folder(table))]
            found[table.name] = TableFiles(_planned([whole], schema_file, instead), _planned([cut], schema_file))
        return replace(kept, tables=found, refused=refused)

    def _found_again(
        self, table: Dataset, folder: str, paths: Sequence[str], before: Collection[str], extent: Extent
    ) -> tuple[list[str], list[str]]:
        """Return the files of a folder that hold only rows of a retained snapshot, and those that hold others too.

        Raise StorageError if rows are gone, and whatever :meth:`_held` raises.
        """
        whole, cut, rows = [], [], 0
        if table.imported:
            return self._unreplaced(folder, paths, before), []
        for path in paths:
            held = self._held(path, table)
            if path in before or held.last_us <= extent.last_us:
                whole.append(path)
                rows += held.rows
            elif held.first_us <= extent.last_us:
                cut.append(path)
                rows += _rows_until(path, str(table.stamp), extent.last_us)
        if rows < extent.rows:
            raise StorageError(
                f"{extent.rows - rows} rows of {folder} were in the archive and are gone: were files deleted or moved "
                "by hand? refresh() takes what is there now"
            )
        return whole, cut

    @staticmethod
    def _unreplaced(folder: str, paths: Sequence[str], before: Collection[str]) -> list[str]:
        """Return the files of a folder of an imported table. Raise StorageError if an import has replaced one."""
        if {path for path in before if str(located(path).parent) == folder} != set(paths):
            raise StorageError(
                f"history files were imported into {folder} after this snapshot was taken: refresh() takes what is "
                "there now"
            )
        return list(paths)

    def _schema_file(self, table: Dataset) -> str:
        path = self._layout.schema_file(table)
        with listing(path.parent):
            there = path.is_file()
        if not there and self._layout.lacks(table):
            return _stand_in(table)
        if not there:
            raise StorageError(
                f"the archive's table {table.name} is not there ({path}): `recorder run --data {self._layout.data}` "
                f"puts it there when it starts"
            )
        if str(path) not in self._checked:  # a newer release marks it first
            read_facts(path)
            self._checked.add(str(path))
        return str(path)

    def _folders(
        self, table: Dataset, pairs: Collection[str] | None = None
    ) -> tuple[dict[str, list[str]], dict[str, Fault]]:
        """Return the files of each folder of the table, except the one created with it, and why others have no list.

        Of a table that is partitioned by pair, only of these ``pairs``.
        """
        schema_file = self._layout.schema_file(table)
        found: dict[str, list[str]] = {}
        unlisted: dict[str, Fault] = {}
        leaves: list[Path] = []
        only = pairs if table.by_pair else None
        for branch in self._layout.branches(table):
            if only is not None and branch.value not in only:
                continue
            try:
                leaves += self._layout.leaves(branch)
            except FAULTS as error:
                unlisted[str(self._layout.home(branch))] = error
        for leaf in leaves:
            try:
                names = [name for name in listed(leaf) if (leaf, name) != (schema_file.parent, schema_file.name)]
            except FAULTS as error:
                unlisted[str(leaf)] = error
            else:
                found[str(leaf)] = [f"{leaf}/{name}" for name in names]
        return found, unlisted

    def _read_ahead(self, paths: Iterable[str]) -> None:
        object_store.read_ahead(path for path in paths if path not in self._known)

    def _held(self, path: str, table: Dataset) -> _FooterFacts:
        """Return the facts of a file. Raise UnsoundFile if they contradict its place."""
        now = stamp(path)
        if path not in self._known or self._known[path][0] != now:
            self._known[path] = now, _read_footer(located(path), table)
        return self._known[path][1]


def _stamped(folders: Mapping[str, Sequence[str]]) -> tuple[dict[str, Stamp], dict[str, Fault]]:
    """Return the stamps of files, and why those of some folders cannot be opened."""
    stamps: dict[str, Stamp] = {}
    found: dict[str, Fault] = {}
    for folder, files in folders.items():
        try:
            stamps |= {path: stamp(path) for path in files}
        except FAULTS as error:
            found[folder] = error
    return stamps, found


@functools.cache
def _stand_in(table: Dataset) -> str:
    """Return an empty file in place of that of a table which the archive lacks; removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="recorder-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Layout(folder).schema_file(table)
    path.parent.mkdir(parents=True)
    parquet.write(table.columns.empty_table(), Footer(table.name), path, Disk(), staged_in=folder)
    return str(path)


def _planned(folders: Iterable[Sequence[str]], schema_file: str, instead: Iterable[str] = ()) -> tuple[str, ...]:
    return file_order.planned(folders, file_order.bytes_in, schema_file, instead)


def _read_footer(path: Path, table: Dataset) -> _FooterFacts:
    value = None if table.partition is None else path.parts[-3].partition("=")[2]
    branch = Branch(table, None if value is None else unquote(value))
    with OpenFile(path) as file:
        check_place(file.facts, branch)
        if not file.rows:
            return _FooterFacts(file.facts, 0, 0)
        if not file.footer.is_old:
            check_times(file.span(table.time), branch, path)
        return _FooterFacts(file.facts, *file.span(table.stamp or table.time))


def _rows_until(path: str, stamp: str, last_us: int) -> int:
    with OpenFile(located(path)) as file:
        stamps = (rows[stamp].cast(pa.int64()) for rows in file.read(_BATCH, columns=[stamp]))
        return sum(int(pc.sum(pc.less_equal(part, last_us)).as_py() or 0) for part in stamps)
