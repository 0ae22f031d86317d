"""Write the tables without ids exactly once: the rows of a whole journal segment at a time.

What a segment brings to a folder is one file, and its footer names the segment. So a drain that is repeated after a
crash finds in the footers what is there already; there is no other state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import files
from recorder.archive.coverage import FileFacts, read_facts
from recorder.archive.files import SCHEMA_FILE, Layout
from recorder.archive.schema import Footer
from recorder.archive.tables import TABLES, TRADES, Branch, Table
from recorder.disk import Disk
from recorder.errors import CorruptFile

_AS_OBJECTS: Final = 1024
"""So many rows are held as objects, some 800 bytes each, before they become Arrow, some 125."""

Row = TypeVar("Row")


class Waiting(Generic[Row]):
    """The rows of one segment until its end, in the order they came, as columns: an eighth of what objects take."""

    def __init__(self, columns: Callable[[Sequence[Row]], pa.Table]) -> None:
        self._columns = columns
        self._tables: list[pa.Table] = []
        self._objects: list[Row] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Take in more rows."""
        self._objects.extend(rows)
        if len(self._objects) >= _AS_OBJECTS:
            self._pack()

    def table(self) -> pa.Table:
        """Return all rows; nothing is copied."""
        if self._objects or not self._tables:
            self._pack()
        return pa.concat_tables(self._tables)

    def _pack(self) -> None:
        self._tables.append(self._columns(self._objects))
        self._objects = []


class Segments:
    """The files of tables without ids, for writing. Footers are read once, and remembered by path."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self.layout = layout
        self.disk = disk
        self._staging = staging
        self._facts: dict[Branch, dict[Path, FileFacts]] = {}

    @contextlib.contextmanager
    def locked(self, branch: Branch) -> Iterator[None]:
        """Hold the branch's lock, with what a cut compaction left put right: then no file can vanish."""
        with files.branch_lock(self.layout, branch):
            files.mend(self.layout, self.disk, branch)
            yield

    def files(self, branch: Branch) -> list[FileFacts]:
        """Return what the files of ``branch`` are now, under its lock. Raises CorruptFile where one is none of them."""
        found, damaged = self._read(branch)
        if damaged:
            raise damaged[0]
        return found

    def holds(self, table: Table, segment: int) -> bool:
        """Tell whether rows of that segment are in the table. A file that cannot be read does not count."""
        for branch in self.layout.branches(table):
            with self.locked(branch):
                found, _ = self._read(branch)
            if any(segment in facts.footer.segments for facts in found):
                return True
        return False

    def append(self, branch: Branch, rows: pa.Table, *, segment: int) -> int:
        """Add the rows drained from ``segment``, durably, but for the folders that hold rows of it; return how many."""
        added = 0
        with self.locked(branch):
            found, _ = self._read(branch)
            done = {facts.path.parent for facts in found if segment in facts.footer.segments}
            for leaf, part in self._parted(branch, rows):
                if leaf not in done:
                    self._write(branch, leaf, part, segment)
                    added += part.num_rows
        return added

    def add(self, branch: Branch, rows: pa.Table, *, segment: int) -> None:
        """Add rows whatever is there from that segment: for rows that a key tells apart."""
        with self.locked(branch):
            for leaf, part in self._parted(branch, rows):
                self._write(branch, leaf, part, segment)

    def _read(self, branch: Branch) -> tuple[list[FileFacts], list[CorruptFile]]:
        known = self._facts.get(branch, {})
        found: dict[Path, FileFacts] = {}
        damaged: list[CorruptFile] = []
        for leaf in self.layout.leaves(branch):
            for path in (leaf / name for name in files.listed(leaf) if name != SCHEMA_FILE):
                try:
                    found[path] = known.get(path) or checked(read_facts(path), branch.table)
                except CorruptFile as error:
                    damaged.append(error)
        # Whoever gave a file its name may have died before the name was on the disk.
        for directory in sorted({path.parent for path in found if path not in known}):
            self.disk.sync_dir(directory)
        self._facts[branch] = found
        return list(found.values()), damaged

    def _parted(self, branch: Branch, rows: pa.Table) -> Iterator[tuple[Path, pa.Table]]:
        """Part rows by the folders that they belong in."""
        if not rows.num_rows:
            return
        if branch.table.year_of is None:
            yield self.layout.leaf(branch, None), rows
            return
        # Without a zone, which would ask for a database of zones; it is UTC.
        years = pc.year(rows[branch.table.year_of].cast(pa.int64()).cast(pa.timestamp("us")))
        for year in sorted(pc.unique(years).to_pylist()):
            yield self.layout.leaf(branch, year), rows.filter(pc.equal(years, year))

    def _write(self, branch: Branch, leaf: Path, rows: pa.Table, segment: int) -> None:
        self.disk.make_dir(leaf)
        path = leaf / files.new_name(segment, segment)
        footer = Footer(branch.table.name, segments=(segment,))
        rows = rows.sort_by([(name, "ascending") for name in branch.table.order])
        size = files.write(rows, footer, path, self.disk, staged_in=self._staging)
        self._facts.setdefault(branch, {})[path] = FileFacts(path, footer, rows.num_rows, size)


def checked(facts: FileFacts, table: Table) -> FileFacts:
    """Return the facts if they can be those of a file of ``table``. Raises CorruptFile."""
    if facts.footer.table != table.name:
        raise CorruptFile(
            f"{facts.path} says it holds {facts.footer.table}, and lies among {table.name}: was it moved there by "
            "hand? Move it back"
        )
    return facts


def highest(layout: Layout) -> int:
    """Return the highest journal segment that any footer names, 0 where none does.

    A journal that was lost, or not copied along, must not give its number again: the drain would take the new
    segment for one that is archived. A file that cannot be read does not count.
    """
    found = 0
    for table in (table for table in TABLES if table is not TRADES):
        for branch in layout.branches(table):
            for leaf in layout.leaves(branch):
                for name in files.listed(leaf):
                    with contextlib.suppress(CorruptFile):
                        found = max(found, *read_facts(leaf / name).footer.segments, 0)
    return found
