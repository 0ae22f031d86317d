"""Open an archive for writing: what is missing is made, and what processes that are gone left is put right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from recorder.archive import locks, parquet
from recorder.archive.datasets import DATASETS, Branch, Dataset
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.trades import TradeArchive
from recorder.disk import Disk
from recorder.errors import ArchiveInUse, CorruptFile, DiskError, UnreadableFile, is_own


@contextlib.contextmanager
def opened(layout: Layout, disk: Disk, *, alone: Path | None = None, in_use: str = "") -> Iterator[TradeArchive]:
    """Open an archive for writing; begin one where there is none, and take away what dead processes left staged.

    Only one process at a time may hold the lock ``alone``; ``in_use`` says so to the others. Raises ArchiveInUse;
    UnknownVersion where a newer release has written here.
    """
    with contextlib.ExitStack() as held:
        if alone is not None:
            disk.make_dir(alone.parent)
            try:
                held.enter_context(locks.alone(alone))
            except ArchiveInUse:
                raise ArchiveInUse(in_use) from None
        create(layout, disk)
        locks.sweep_staging(layout, disk)
        yield TradeArchive(layout, disk, staging=held.enter_context(locks.staging(layout, disk)))


def create(layout: Layout, disk: Disk) -> None:
    """Create what is missing: folders, and in each table one empty file that carries the schema.

    A glob without files is an error in DuckDB; this way a view is right from the first moment. Raises
    UnknownVersion where a newer release has written here. Of tables without ids a folder that refuses is passed over.
    """
    for directory in (layout.data, layout.staging, layout.exchange, layout.locks):
        disk.make_dir(directory)
    # A table's own folder may lie aside after a cut compaction: one made anew would take its name.
    locks.recover_all(layout, disk, (Branch(dataset) for dataset in DATASETS if dataset.partition is None))
    with locks.staging(layout, disk) as private:
        for dataset in DATASETS:
            try:
                _bear(dataset, layout, disk, private)
            except DiskError as error:
                # Trades can be recorded all the same: what is for that table waits in the journal, as the drain tells.
                if dataset.has_ids or not is_own(error):
                    raise


def _bear(dataset: Dataset, layout: Layout, disk: Disk, private: Path) -> None:
    born = layout.schema_file(dataset)
    disk.make_dir(born.parent)
    if not _is_todays(born):
        parquet.write(dataset.columns.empty_table(), Footer(dataset.name), born, disk, staged_in=private)


def _is_todays(born: Path) -> bool:
    """Return whether a table's first file is there, and of today's version. Raises UnknownVersion.

    It is brought up to date before anything of a newer version is written, so that it tells an older release to keep
    away. It holds no rows: where it is damaged, or may not be read, it is written anew.
    """
    try:
        return parquet.read_facts(born).footer.is_todays
    except (FileNotFoundError, CorruptFile):
        return False
    except UnreadableFile as error:
        if not error.of_itself:
            raise
        return False
