"""Exactly-once writing of the tables without ids, one whole journal segment at a time.

The rows of a segment become one file per folder, whose footer names the segment. A drain that is repeated after a crash
reads from the footers what has been written already; there is no other state. The registry defines which tables there
are and how each is stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import archive_id, locks, parquet
from recorder.archive.datasets import EVENTS_OF, SCHEMA_FILE, Branch, Dataset, written_by
from recorder.archive.footer import Footer
from recorder.archive.integrity import check_place
from recorder.archive.layout import Layout, last_in, listed
from recorder.archive.ordered_merge import in_row_order, is_in_order
from recorder.archive.parquet import SET_APART, FileFacts, read_facts
from recorder.archive.readable_footers import readable_footers
from recorder.archive.schema import REFUSED
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.disk import Disk
from recorder.errors import DiskError, TableUnusable, UnreadableFile, Unstorable, is_own

_AS_OBJECTS: Final = 1024
"""Rows kept as objects, some 800 bytes each, before they are packed into Arrow columns, some 125 bytes each."""
_IN_MEMORY: Final = 262_144
"""Rows of all branches together that wait in memory, some 100 MB of objects and columns, before they are moved to a
file: a segment of books has millions, and each of a thousand pairs has some."""
_NEWEST: Final = 3
"""Dates of a pair among which the newest segment is: one is drained that spans a midnight, and a clock may be off."""
_ASIDE_SUFFIX: Final = ".waiting"


class _Spill:
    """A file with rows of several branches of one table, from which they are mapped into memory in the end.

    It is read by this process only, so nothing of it is synced. Raises DiskError if it cannot be written.
    """

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self._path = path
        self._count = 0
        self._reader: pa.ipc.RecordBatchFileReader | None = None
        with self._written():
            self._writer = pa.ipc.new_file(str(path), columns)

    def add(self, rows: pa.Table) -> range:
        """Add rows; return which batches of the file they are."""
        first, batches = self._count, rows.combine_chunks().to_batches()
        with self._written():
            for batch in batches:
                self._writer.write_batch(batch)
        self._count += len(batches)
        return range(first, self._count)

    def close(self) -> None:
        """End the file, which can be read then."""
        with self._written():
            self._writer.close()

    def read(self, batches: range) -> list[pa.RecordBatch]:
        """Return batches without copying."""
        if self._reader is None:
            self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        return [self._reader.get_batch(number) for number in batches]

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(DiskError):  # an unfinished one that has no room
            self.close()
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(f"cannot write {self._path}: {error.strerror or error}") from error


class Waiting:
    """The rows of one segment until its end, in order of arrival, as columns: an eighth of the memory of objects.

    Rows that a table folds stay objects until then, as few as there are in the end.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._columns = dataset.columns
        self._spilled: list[tuple[_Spill, range]] = []
        self._build = dataset.build
        self._fold = dataset.fold
        self._tables: list[pa.Table] = []
        self._objects: list[Any] = []
        self._limit = _AS_OBJECTS

    def add(self, rows: Iterable[Any], *, at_once: bool = False) -> None:
        """Add rows. Raises one of :data:`REFUSED` if one does not fit: ``at_once``, or when many have been added.

        If it is raised ``at_once``, none of these rows has been added.
        """
        if at_once:
            taken = list(rows)
            packed = self._build(taken)
            if self._fold is None:
                self._tables.append(packed)
                return
            rows = taken
        self._objects.extend(rows)
        if len(self._objects) < self._limit:
            return
        if self._fold is None:
            self._pack()
        else:
            self._objects = self._fold(self._objects)
            self._limit = max(_AS_OBJECTS, 2 * len(self._objects))

    def table(self) -> pa.Table:
        """Return all rows; those of files without copying."""
        if self._objects or not (self._tables or self._spilled):
            self._pack()
        aside = [batch for spill, batches in self._spilled for batch in spill.read(batches)]
        return pa.concat_tables([pa.Table.from_batches(aside, self._columns), *self._tables])

    def move_to(self, spill: _Spill) -> None:
        """Move all rows to a file. Raises one of :data:`REFUSED`, DiskError."""
        if self._objects:
            self._pack()
        if self._tables:
            self._spilled.append((spill, spill.add(pa.concat_tables(self._tables))))
            self._tables = []

    def _pack(self) -> None:
        rows = self._objects if self._fold is None else self._fold(self._objects)
        self._tables.append(self._build(rows))
        self._objects = []


class Segments:
    """The files of tables without ids, for writing. Each footer is read once and remembered by path."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self.layout = layout
        self.disk = disk
        self._staging = staging
        self.id = archive_id.read(layout.data)
        self._facts: dict[Branch, dict[Path, FileFacts]] = {}

    @contextlib.contextmanager
    def locked(self, branch: Branch) -> Iterator[None]:
        """Hold the branch's lock, so that no file can vanish."""
        with locks.writing(self.layout, self.disk, branch):
            yield

    def files(self, branch: Branch, leaves: Iterable[Path] | None = None) -> list[FileFacts]:
        """Return the current files of ``branch``, or of these leaves of it. The caller holds its lock.

        Raises UnsoundFile, UnreadableFile if a file does not belong to the table or cannot be read.
        """
        found, damaged = self._read(branch, leaves)
        if damaged:
            raise damaged[0]
        return found

    def holds(self, dataset: Dataset, segment: SegmentName) -> bool:
        """Return whether the table has rows of that segment. A file that cannot be read does not count."""
        for branch in self.layout.branches(dataset):
            with self.locked(branch):
                found, _ = self._read(branch)
            if any(segment in facts.footer.segments for facts in found):
                return True
        return False

    def append(self, branch: Branch, rows: pa.Table, *, segment: SegmentName) -> int:
        """Add the rows drained from ``segment``, durably; return how many were added.

        Folders that already have rows of the segment are left as they are.
        """
        added = 0
        with self.locked(branch):
            for leaf, part in self._parted(branch, rows):
                if not self._has(branch, leaf, segment):
                    self._write(branch, leaf, part, segment)
                    added += part.num_rows
        return added

    def holds_some_of(self, branch: Branch, rows: pa.Table, segment: SegmentName) -> bool:
        """Return whether a folder that these rows belong in has rows of that segment."""
        with self.locked(branch):
            return any(self._has(branch, leaf, segment) for leaf, _ in self._parted(branch, rows))

    def _has(self, branch: Branch, leaf: Path, segment: SegmentName) -> bool:
        found, _ = self._read(branch, [leaf])
        return any(segment in facts.footer.segments for facts in found)

    def add(self, branch: Branch, rows: pa.Table, *, segment: SegmentName | None) -> int:
        """Add rows even if the segment already has some, or if they come from none; return how many were added.

        For rows identified by a key, and for callers without a journal.
        """
        with self.locked(branch):
            for leaf, part in self._parted(branch, rows):
                self._write(branch, leaf, part, segment)
        return int(rows.num_rows)

    def _read(self, branch: Branch, leaves: Iterable[Path] | None = None) -> tuple[list[FileFacts], list[Exception]]:
        known = self._facts.get(branch, {})
        found: dict[Path, FileFacts] = {}
        damaged: list[Exception] = []
        for path in self.layout.files(branch) if leaves is None else self._listed(leaves):
            if path.name != SCHEMA_FILE:
                try:
                    found[path] = known.get(path) or check_place(read_facts(path), branch)
                except SET_APART as error:
                    if isinstance(error, UnreadableFile) and not error.of_itself:  # the disk may recover
                        raise
                    damaged.append(error)
        # The process that renamed a file into place may have died before the name was durable.
        for directory in sorted({path.parent for path in found if path not in known}):
            self.disk.sync_dir(directory)
        # Of what is split by date, nothing is remembered: there may be thousands of folders, of which few are needed.
        self._facts[branch] = {} if branch.dataset.period == "date" else known | found if leaves is not None else found
        return list(found.values()), damaged

    @staticmethod
    def _listed(leaves: Iterable[Path]) -> Iterator[Path]:
        for leaf in leaves:
            with contextlib.suppress(FileNotFoundError):  # nobody can remove it meanwhile
                yield from [leaf / name for name in listed(leaf)]

    def _parted(self, branch: Branch, rows: pa.Table) -> Iterator[tuple[Path, pa.Table]]:
        """Split rows by the folders that they belong in."""
        dataset = branch.dataset
        if not rows.num_rows:
            return
        if dataset.period is None:
            yield self.layout.leaf(branch, None), rows
            return
        # Without a time zone, which would need a time zone database; times are UTC.
        moments = rows[dataset.time].cast(pa.int64()).cast(pa.timestamp("us"))
        periods = pc.year(moments) if dataset.period == "year" else moments.cast(pa.date32(), safe=False)
        found = sorted(pc.unique(periods).to_pylist())
        for period in found:
            part = rows if len(found) == 1 else rows.filter(pc.equal(periods, period))
            yield self.layout.leaf(branch, str(period)), part

    def _write(self, branch: Branch, leaf: Path, rows: pa.Table, segment: SegmentName | None) -> None:
        self.disk.make_dir(leaf)
        segments = () if segment is None else (segment,)
        footer = Footer(branch.dataset.name, branch.pair, segments=segments, archive=self.id)
        if not is_in_order(branch.dataset.order, rows):  # as many rows are that came in order, and stay where they are
            rows = in_row_order(branch.dataset.order, rows)
        named = (0, 0) if segment is None else (segment.number, segment.number)
        written = parquet.write_new(rows, footer, leaf, self.disk, named=named, staged_in=self._staging)
        if branch.dataset.period != "date":
            self._facts.setdefault(branch, {})[written.path] = written


class SegmentTables:
    """All tables without ids of a journal: :meth:`add` the rows of one segment, then :meth:`write` them, exactly once.

    ``events`` is the one of them for events.

    A caller that decides which rows are new remembers the rows it has added; :meth:`on_loss` tells it to forget them if
    they are never written.
    """

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path, journal: str = MAIN_JOURNAL) -> None:
        self.segments = Segments(layout, disk, staging=staging)
        self._staging = staging
        self.events = EVENTS_OF[journal]
        self._others = [dataset for dataset in _without_ids(journal) if dataset != self.events]
        self._waiting: dict[Branch, Waiting] = {}
        self._in_memory = 0
        self._spills: list[_Spill] = []
        self._singly = False
        self._forget: list[Callable[[], None]] = []

    def on_loss(self, forget: Callable[[], None]) -> None:
        """Call ``forget`` whenever added rows are dropped."""
        self._forget.append(forget)

    def begin(self, *, singly: bool = False) -> None:
        """Begin a segment: rows that were added and never written are dropped. ``singly``: see :meth:`add`."""
        self._singly = singly
        if self._waiting:
            self._discard()
            for forget in self._forget:
                forget()

    def _discard(self) -> None:
        for spill in self._spills:
            spill.discard()
        self._waiting, self._spills, self._in_memory = {}, [], 0

    def add(self, branch: Branch, rows: Iterable[Any]) -> None:
        """Add rows of the segment, in the form that the ``build`` function of their table expects.

        Raises Unstorable if some do not fit the table: about these rows if they are added ``singly``, otherwise perhaps
        about earlier ones, and perhaps only on :meth:`write`.
        """
        taken = list(rows)
        if taken:
            try:
                if branch not in self._waiting:
                    self._waiting[branch] = Waiting(branch.dataset)
                self._waiting[branch].add(taken, at_once=self._singly)
                self._in_memory += len(taken)
                if self._in_memory >= _IN_MEMORY:
                    self._spill()
            except REFUSED as error:
                raise Unstorable(f"it does not fit the table {branch.dataset.name}: {error}") from error

    def _spill(self) -> None:
        """Move the rows that wait in memory to files, one for each table, but not those that are folded."""
        spilled = [branch for branch in self._waiting if branch.dataset.fold is None]
        for dataset in dict.fromkeys(branch.dataset for branch in spilled):
            spill = _Spill(self._staging / f"rows-{len(self._spills)}{_ASIDE_SUFFIX}", dataset.columns)
            self._spills.append(spill)
            for branch in spilled:
                if branch.dataset == dataset:
                    self._waiting[branch].move_to(spill)
            spill.close()
        self._in_memory = 0

    def waiting(self, branch: Branch) -> pa.Table:
        """Return the rows that were added and are not written yet."""
        waiting = self._waiting.get(branch)
        return branch.dataset.columns.empty_table() if waiting is None else waiting.table()

    def write(self, segment: SegmentName) -> int:
        """Write the added rows, durably; return how many. Writes nothing if the segment was written before.

        Some events are found by comparing with archived rows, so events are written first. If another of these tables
        has rows of the segment, its events are complete; if none has, the same events are found again. What tells of
        other rows, such as a part of a session, is written after them. Raises Unstorable before anything is written;
        TableUnusable if a folder of a table cannot be listed or written: then the caller keeps the segment and adds its
        rows again later.
        """
        added = 0
        tables: dict[Branch, pa.Table] = {}
        in_turn = sorted(self._waiting, key=lambda one: (one.dataset != self.events, one.dataset.fold is not None))
        for branch in in_turn:
            try:
                tables[branch] = self._waiting[branch].table()
            except REFUSED as error:
                raise Unstorable(f"rows do not fit the table {branch.dataset.name}: {error}") from error
        for branch in tables:
            try:
                added += self._put(branch, tables, segment)
            except DiskError as error:
                if not is_own(error):
                    raise
                folder = self.segments.layout.folder(branch.dataset)
                raise TableUnusable(f"the table {branch.dataset.name} cannot be used ({folder}): {error}") from error
        del tables
        self._discard()
        return added

    def _has_others(self, tables: Mapping[Branch, pa.Table], segment: SegmentName) -> bool:
        """Return whether rows of the segment are in a table other than that of events.

        Of what is split by date, only folders are looked into that the same rows would be written to again: all that
        was received is archived, so that they are the same each time.
        """
        by_date = (branch for branch in tables if branch.dataset.period == "date")
        return any(self.segments.holds(other, segment) for other in self._others if other.period != "date") or any(
            self.segments.holds_some_of(branch, tables[branch], segment) for branch in by_date
        )

    def _put(self, branch: Branch, tables: Mapping[Branch, pa.Table], segment: SegmentName) -> int:
        dataset, rows = branch.dataset, tables[branch]
        if dataset == self.events and self._has_others(tables, segment):
            return 0
        put = self.segments.add if dataset.by_key else self.segments.append
        return put(branch, rows, segment=segment)


def highest(layout: Layout, journal: str = MAIN_JOURNAL) -> int:
    """Return the highest number of a segment of this journal that any footer names, 0 if there is none.

    A journal that was lost, or not copied with the archive, must not reuse that number: the drain would mistake the new
    segment for an archived one. Other archives count too: segments may have been named by an earlier id of this one. A
    file that cannot be read, or a folder that cannot be listed, does not.
    """
    tables = _without_ids(journal)
    footers = readable_footers(layout, (table for table in tables if table.period != "date"))
    named = (name.number for footer in footers for name in footer.segments if name.journal == journal)
    return max((*named, *(_highest_in_names(layout, table) for table in tables if table.period == "date")), default=0)


def _highest_in_names(layout: Layout, table: Dataset) -> int:
    """Return the highest number of a segment by the names of the files of the newest dates of each pair.

    There are too many to open each at a start, or to list all folders: later segments have later dates, and the tables
    of the same journal that are split by year name the same segments. A number in a name is that of a footer, or higher
    where a file of another archive was merged, and a number that is left out does no harm.
    """
    highest_number = 0
    with contextlib.suppress(*SET_APART):
        for branch in layout.branches(table):
            with contextlib.suppress(*SET_APART, FileNotFoundError):
                names = (name for leaf in layout.leaves(branch)[-_NEWEST:] for name in listed(leaf))
                numbers = (last_in(name) for name in names)
                highest_number = max(highest_number, *(number for number in numbers if number is not None), 0)
    return highest_number


def _without_ids(journal: str) -> list[Dataset]:
    return [dataset for dataset in written_by(journal) if not dataset.has_ids]
