"""Opening an archive for writing: missing parts are created, and remains of dead processes are cleaned up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from recorder.archive import archive_id, locks, parquet
from recorder.archive.datasets import DATASETS, Branch, Dataset
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.trades import TradeArchive
from recorder.disk import Disk
from recorder.errors import ArchiveInUse, CorruptFile, DiskError, UnreadableFile, is_own


@contextlib.contextmanager
def opened(
    layout: Layout,
    disk: Disk,
    *,
    alone: Path | None = None,
    in_use: str = "",
    journals: bool = False,
    tables: Sequence[Dataset] | None = None,
) -> Iterator[TradeArchive]:
    """Open an archive for writing; create it if there is none, and remove what dead processes left in staging.

    Only one process at a time may hold the lock ``alone``; ``in_use`` is the error message for the others. A process
    that ``journals`` names segments by the archive's id, so that a copy first gets an id of its own. ``tables`` are
    those that it may write, all by default: of no others is a lock taken, which another process might need meanwhile.
    Raises ArchiveInUse; UnknownVersion if a newer release has written here.
    """
    with contextlib.ExitStack() as held:
        if alone is not None:
            disk.make_dir(alone.parent)
            try:
                held.enter_context(locks.alone(alone))
            except ArchiveInUse:
                raise ArchiveInUse(in_use) from None
        create(layout, disk, tables)
        locks.sweep_staging(layout, disk, tables)
        staging = held.enter_context(locks.staging(layout, disk))
        if journals:
            archive_id.claim(layout, disk, staging)
        yield TradeArchive(layout, disk, staging=staging)


def create(layout: Layout, disk: Disk, tables: Sequence[Dataset] | None = None) -> None:
    """Create what is missing: folders, the archive's id, and in each of these tables one empty file with the schema.

    A glob without files is an error in DuckDB; with this file a view works from the start. Raises UnknownVersion if a
    newer release has written here. A folder of a table without ids that cannot be written is skipped.
    """
    tables = DATASETS if tables is None else tables
    for directory in (layout.data, layout.staging, layout.exchange, layout.locks):
        disk.make_dir(directory)
    # A table's own folder may have a temporary name after an interrupted compaction: a new one would take its place.
    locks.recover_all(layout, disk, (Branch(dataset) for dataset in tables if dataset.partition is None))
    with locks.staging(layout, disk) as private:
        archive_id.ensure(layout, disk, private)
        for dataset in tables:
            try:
                _create_schema_file(dataset, layout, disk, private)
            except DiskError as error:
                # Trades can still be recorded: rows of that table wait in the journal, which the drain reports.
                if dataset.has_ids or not is_own(error):
                    raise


def _create_schema_file(dataset: Dataset, layout: Layout, disk: Disk, private: Path) -> None:
    path = layout.schema_file(dataset)
    disk.make_dir(path.parent)
    if not _is_todays(path):
        parquet.write(dataset.columns.empty_table(), Footer(dataset.name), path, disk, staged_in=private)


def _is_todays(schema_file: Path) -> bool:
    """Return whether a table's schema file exists and is of the current version. Raises UnknownVersion.

    It is upgraded before anything of a newer version is written, so that older releases refuse the archive. It has no
    rows: if it is damaged or cannot be read, it is written again.
    """
    try:
        return parquet.read_facts(schema_file).footer.is_todays
    except (FileNotFoundError, CorruptFile):
        return False
    except UnreadableFile as error:
        if not error.of_itself:
            raise
        return False
