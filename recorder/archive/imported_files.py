"""The files of imported tables: one for each pair and year, replaced as a whole.

The new file is written aside and the year's folder is swapped, as a compaction does. A reader sees either the file
before or the one after, and so does the next import, whatever happened in between.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

import pyarrow as pa

from recorder.archive import archive_id, compaction, duplicate_files, locks, parquet
from recorder.archive.datasets import SCHEMA_FILE, Branch, Dataset
from recorder.archive.footer import Footer
from recorder.archive.imported_history import History
from recorder.archive.integrity import check_columns, check_place
from recorder.archive.layout import Layout, listed
from recorder.archive.parquet import FileFacts, OpenFile, read_facts
from recorder.disk import Disk, undisturbed

LEVEL: Final = 3
"""zstd level: no compaction ever packs these files better, and an import should be fast."""
EXAMPLES: Final = 10
"""Examples of differences that are kept; all are counted."""
_BATCH: Final = 16_384

Write: TypeAlias = Callable[[Iterable[pa.Table], Callable[[Footer], Footer]], None]
"""Writes the rows of the new file, and adds to its footer what is known when all have been taken."""


class Prefer(enum.StrEnum):
    """Which rows are kept where members differ; where none is preferred, the stored ones are, and it is reported."""

    HELD = "held"
    NEW = "new"


class ImportedTable:
    """An imported table, for writing."""

    dataset: ClassVar[Dataset]

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk
        self._id = archive_id.read(layout.data)

    def years(self, pair: str) -> Mapping[int, History]:
        """Return what is stored of a pair, by year. Raises UnsoundFile, UnreadableFile."""
        branch = Branch(self.dataset, pair)

        def look() -> dict[int, History]:
            leaves = self._layout.leaves(branch)
            found = ((int(leaf.name.partition("=")[2]), _file_in(leaf, branch)) for leaf in leaves)
            return {year: file.footer.history or History() for year, file in found if file is not None}

        return undisturbed(look, f"the files of {pair}")

    def file(self, pair: str, year: int) -> FileFacts | None:
        """Return the file of a year, None if there is none. Raises UnsoundFile, UnreadableFile."""
        branch = Branch(self.dataset, pair)
        return undisturbed(lambda: _file_in(self._layout.leaf(branch, str(year)), branch), f"the files of {pair}")

    @contextlib.contextmanager
    def replacing(self, pair: str, year: int) -> Iterator[tuple[FileFacts | None, Write]]:
        """Yield the file of a year, None if there is none, and what writes the one that replaces it on exit, durably.

        Raises UnsoundFile, CorruptFile if the stored file cannot be trusted; DiskError. Nothing has changed then.
        """
        branch = Branch(self.dataset, pair)
        leaf = self._layout.leaf(branch, str(year))
        with locks.writing(self._layout, self._disk, branch):
            self._disk.make_dir(leaf)
            held = _file_in(leaf, branch)
            merged = [] if held is None else [held]
            with compaction.replacing(self._layout, self._disk, branch, leaf, merged) as built:

                def write(rows: Iterable[pa.Table], completed: Callable[[Footer], Footer]) -> None:
                    footer = Footer(self.dataset.name, pair, archive=self._id)
                    written = parquet.write_stream(
                        rows,
                        self.dataset.columns,
                        footer,
                        built,
                        self._disk,
                        named=(year, year),
                        level=LEVEL,
                        completed=completed,
                    )
                    check_place(read_facts(written), branch)

                yield held, write


def _file_in(leaf: Path, branch: Branch) -> FileFacts | None:
    """Return the one file of a folder, None if it has none yet. Raises UnsoundFile if there are several."""
    names = listed(leaf) if leaf.is_dir() else []
    files = [check_place(read_facts(leaf / name), branch) for name in names if name != SCHEMA_FILE]
    duplicate_files.check(duplicate_files.same_segments(branch.dataset, files))
    return files[0] if files else None


def read(file: FileFacts | None, dataset: Dataset) -> Iterator[pa.Table]:
    """Yield the rows of a file in their order; none if there is no file."""
    if file is not None:
        with OpenFile(file.path) as opened:
            yield from read_opened(opened, dataset)


def read_opened(file: OpenFile, dataset: Dataset) -> Iterator[pa.Table]:
    """Yield the rows of an open file in their order."""
    for rows in check_columns(file, dataset).read(_BATCH):
        yield rows.cast(dataset.columns)


class Taken:
    """Rows of a file, taken in order, as many at a time as wanted."""

    def __init__(self, parts: Iterator[pa.Table], dataset: Dataset) -> None:
        self._parts = parts
        self._rest = dataset.columns.empty_table()

    def take(self, count: int) -> pa.Table:
        """Return the next rows; fewer only if the file has no more."""
        taken = [self._rest]
        have = self._rest.num_rows
        while have < count and (part := next(self._parts, None)) is not None:
            taken.append(part)
            have += part.num_rows
        rows = pa.concat_tables(taken)
        self._rest = rows.slice(count)
        return rows.slice(0, count)
