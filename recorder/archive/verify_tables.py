"""Soundness of files of the tables without ids: candles, events, listings. For trades see :mod:`verify_trades`.

Checks the rows of such a file against its footer, its place and its checksums.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import duplicate_files, integrity
from recorder.archive.check_readable import check_bytes
from recorder.archive.datasets import BY_NAME, DATASETS, EVENTS, NO_PARTITION, WITHOUT_IDS, Branch, Dataset, remedy
from recorder.archive.day_claims import DayClaims
from recorder.archive.footer_claims import FooterClaims
from recorder.archive.integrity import ALL_DAYS, MOVE_BACK, Days, Finding, parquet_in
from recorder.archive.layout import Layout, period_of, size_of
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile
from recorder.core.certificate import DAY_US
from recorder.core.model import TIMEFRAMES
from recorder.disk import names_in
from recorder.errors import UnsoundFile

_BATCH: Final = 32_768
"""Rows in memory at most."""
_US_PER_MINUTE: Final = 60_000_000


def opened(
    leaf: Path, branch: Branch, stack: contextlib.ExitStack, *, but: Container[str] = ()
) -> tuple[list[OpenFile], list[Finding]]:
    """Open the files of a folder, except those named in ``but``, and read all of their rows; it may be missing.

    Returns the sound files that have rows, or days without any of an imported table, and the findings about the others.
    Raises UnknownVersion; StorageError if the files keep changing faster than they can be listed.
    """
    files, found = integrity.opened(leaf, branch, stack, but=but)
    readable = []
    for file in files:
        try:
            _check(file, branch)
        except SET_APART as error:
            found.append(Finding.of(error))
        else:
            readable.append(file)
    return [file for file in readable if file.rows or file.footer.history], found


def findings(
    layout: Layout, *, days: Days | None = ALL_DAYS, done: Callable[[int], None] = lambda _: None
) -> Iterator[Finding]:
    """Read all files of tables without ids, and yield the findings.

    Of candles, only the years that ``days`` touch are read; with None, only events, on which certificates depend.
    ``done`` is called with the bytes of files as they are processed. Raises as :func:`opened` does.
    """
    try:
        held: dict[Dataset, list[FileFacts]] = {}
        for branch, leaf in _folders(layout, days):
            size = size_of(leaf)
            with contextlib.ExitStack() as stack:
                files, found = opened(leaf, branch, stack)
            yield from found
            held.setdefault(branch.dataset, []).extend(file.facts for file in files)
            done(size)
        for dataset, facts in held.items():
            with contextlib.suppress(FileNotFoundError):  # compacted since
                yield from duplicate_files.same_segments(dataset, facts)
        if days is not None:
            yield from _strays(layout)
    except SET_APART as error:  # an unreadable folder: its content is unknown
        yield Finding.of(error)


def size(layout: Layout, days: Days | None = ALL_DAYS) -> int:
    """Return the approximate bytes of these files: the total that ``done`` is called with."""
    with contextlib.suppress(*SET_APART):
        return sum(size_of(leaf) for _, leaf in _folders(layout, days))
    return 0


def wrong(data: Path, path: Path) -> Finding | None:
    """Read one file of any table of the archive at ``data``, and return the finding if it is not sound.

    Raises UnknownVersion; FileNotFoundError if it has been removed.
    """
    name, *rest = path.relative_to(data).parts
    if name not in BY_NAME:
        return None
    dataset = BY_NAME[name]
    branch = Branch(dataset) if dataset.partition is None else Branch(dataset, unquote(rest[0].partition("=")[2]))
    try:
        check_bytes(path)
        with OpenFile(path) as file:
            _check(integrity.check_footer(file, branch), branch)
    except SET_APART as error:
        return Finding.of(error)
    return None


def _folders(layout: Layout, days: Days | None) -> Iterator[tuple[Branch, Path]]:
    """Return the folders to read, including those of the schema files that tables are created with."""
    for dataset in (EVENTS,) if days is None else WITHOUT_IDS:
        for branch in layout.branches(dataset):
            for leaf in layout.leaves(branch):
                period = period_of(leaf)
                # Certificates depend on all events.
                if dataset == EVENTS or days is None or period is None or days.touch_period(period):
                    yield branch, leaf
    if days is not None:
        for dataset in (dataset for dataset in DATASETS if dataset.partition is not None):
            yield Branch(dataset, NO_PARTITION), layout.schema_file(dataset).parent


def _strays(layout: Layout) -> Iterator[Finding]:
    """Find Parquet files that readers may find where none belongs, except below the folders of pairs."""
    for dataset in DATASETS:
        branches = [Branch(dataset, NO_PARTITION), *([] if dataset.has_ids else layout.branches(dataset))]
        leaves = {leaf for branch in branches for leaf in layout.leaves(branch)}
        # Branches of tables with ids are checked by ``verify_trades``.
        left = {layout.home(branch) for branch in layout.branches(dataset)} if dataset.has_ids else set()
        folder = layout.folder(dataset)
        for entry in (folder / name for name in names_in(folder)):
            for path in [] if entry in left else parquet_in(entry):
                if path.parent not in leaves:
                    yield Finding(path, f"lies in no folder of the table {dataset.name}", MOVE_BACK)


def _check(file: OpenFile, branch: Branch) -> None:
    """Read all rows of a file, verifying the checksums of its pages and the place of its rows.

    Raises UnsoundFile, UnreadableFile.
    """
    held, days = 0, DayClaims(file)
    for group in file.groups:
        before, claims = held, FooterClaims(file, group)
        for rows in file.read(_BATCH, groups=[group], use_threads=False):
            with integrity.checking(file.path):
                integrity.check_period(rows, branch, file.path.parent, file.path)
                _check_start(rows, branch, file.path)
                claims.add(rows)
                days.add(rows)
            held += rows.num_rows
        if held - before != file.rows_in(group):
            break
        claims.check()
    if held != file.rows:
        raise UnsoundFile(file.path, f"holds {held} rows, and its footer claims {file.rows}", remedy(file.path))


def _check_start(rows: pa.Table, branch: Branch, path: Path) -> None:
    """Check the starts of candles against their timeframe. Raises UnsoundFile."""
    dataset = branch.dataset
    if dataset.partition != "timeframe" or not rows.num_rows:
        return
    step_us = TIMEFRAMES.get(branch.value or "", 0) * _US_PER_MINUTE
    # Candles of longer timeframes need not start at a multiple of their length.
    if step_us and DAY_US % step_us == 0:
        off = pc.indices_nonzero(pa.array(rows[dataset.time].cast(pa.int64()).to_numpy() % step_us))
        if len(off):
            time = rows[dataset.time][off[0].as_py()].as_py()
            problem = f"holds a candle that begins at {time:%Y-%m-%dT%H:%M:%SZ}, and lies in timeframe={branch.value}"
            raise UnsoundFile(path, problem, MOVE_BACK)
