"""Merge neighbours: many small files become few large ones, and no reader ever sees a wrong row.

Owns: which files are merged (pure arithmetic on row counts) and the exchange of a year's directory. A new
directory is built aside, with hard links to what is left alone, checked, synced, and swapped in one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa

from recorder.archive import duplicate_files, locks, parquet
from recorder.archive.datasets import TRADES, Branch, Dataset
from recorder.archive.footer import Footer, held_runs
from recorder.archive.integrity import check_columns
from recorder.archive.layout import Layout, listed, period_of
from recorder.archive.ordered_merge import Batches, in_order, in_row_order, key
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile, check_digest
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.core.trade_ids import Spans, joined
from recorder.disk import Disk
from recorder.errors import CorruptFile, UnreadableFile

TIERS: Final = (75, 600, 5_000, 40_000, 320_000, 2_500_000)
"""Row counts at which a file enters the next tier. A merge lifts every row in it by a tier at least, so a row is
rewritten about six times on its way from one row a file to a full one; a full file (half of the 5 M rows that a
file may have, so that two never fit) is never touched, but for a newer version of the schema."""
FULL_ROWS: Final = TIERS[-1]
MANY: Final = 16
"""So many neighbours are merged even if few rows come of it: a thin pair's files cost more than its rows."""
QUIET_S: Final = 3600.0
"""A year that is over is merged for good once so long nothing came to it: while its history is being fetched, that
would rewrite all of it for every new batch."""
_BATCH: Final = 16_384
"""Rows in hand at most of each file that is being merged: files that overlap are all open at once."""
_ROWS_IN_HAND: Final = 262_144
"""Rows in hand of all of them together, some 30 MB."""
_READ_BYTES: Final = 65_536
"""Read a file in such pieces, not a row group at once: many may be open."""


def plan(rows: Sequence[int], *, settled: bool = False) -> slice | None:
    """Choose the next neighbours to merge, of files with these row counts in the order of their ids.

    ``settled`` is for a year that is over and quiet: what is not full is merged, since nothing more comes.
    Returns None where nothing is worth it. At least two files, fewer than 5 M rows together.
    """
    if settled:
        return next((run for run in _runs(rows, FULL_ROWS) if run.stop - run.start > 1), None)
    for ceiling in TIERS:
        for run in _runs(rows, ceiling):
            taken = 0
            for stop in range(run.start, run.stop):
                taken += rows[stop]
                if taken >= ceiling and stop > run.start:
                    return slice(run.start, stop + 1)
            if ceiling == TIERS[0] and run.stop - run.start >= MANY:
                return run
    return None


def _runs(rows: Sequence[int], ceiling: int) -> Iterator[slice]:
    """Yield the longest runs of neighbours below ``ceiling`` rows each and below twice FULL_ROWS together."""
    start = taken = 0
    for index, count in enumerate(rows):
        if count >= ceiling or taken + count >= 2 * FULL_ROWS:
            if index > start:
                yield slice(start, index)
            start, taken = (index + 1, 0) if count >= ceiling else (index, count)
        else:
            taken += count
    if len(rows) > start:
        yield slice(start, len(rows))


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one compaction did."""

    branch: Branch
    files: int
    rows: int


def compact(archive: TradeArchive, pair: str, *, today: date, now_s: float | None = None) -> Compacted | None:
    """Do the next merge of ``pair``, if one is worth it; the rows stay the same, ids and all.

    ``today`` is the UTC day; ``now_s``, seconds since 1970, tells which past years have been quiet; without it all of
    them count so. Raises CorruptFile, with the archive untouched, where the files do not hold what their footers say.
    """
    branch = Branch(TRADES, pair)
    with locks.writing(archive.layout, archive.disk, branch):
        held = sorted(archive.coverage.files(pair), key=first_id)
        duplicate_files.check(duplicate_files.same_ids((run, file.path) for file in held for run in file.footer.runs))
        for leaf, merged in _worth_it(archive.layout, branch, held, today, now_s):
            runs = joined(run for file in merged for run in file.footer.runs)
            ids = Spans(run.span for run in runs)
            named = runs[0].span.first, runs[-1].span.last
            with replacing(archive.layout, archive.disk, branch, leaf, merged) as built:
                footer = Footer(TRADES.name, pair, tuple(runs), promise=archive.promise_of(pair, held))
                rows = file_rows(TRADES, merged, first=first_id)
                written = parquet.write_stream(rows, TRADES.columns, footer, built, archive.disk, named=named)
                check_ids(written, ids)
            return Compacted(branch, len(merged), sum(file.rows for file in merged))
    return None


def compact_segments(
    segments: Segments, branch: Branch, *, today: date, now_s: float | None = None, drained_to: int = 0
) -> Compacted | None:
    """Do the next merge of a branch of a table without ids, if one is worth it; the rows stay the same.

    Segments up to ``drained_to`` have left the journal for good: none of them can be drained again, so their numbers
    are left out of the new footer, but for the highest, which keeps files in order. Raises CorruptFile, with the
    archive untouched.
    """
    layout, dataset = segments.layout, branch.dataset
    with segments.locked(branch):
        held = sorted(segments.files(branch), key=_last_segment)
        duplicate_files.check(duplicate_files.same_segments(dataset, held))
        for leaf, merged in _worth_it(layout, branch, held, today, now_s):
            numbers = sorted({number for file in merged for number in file.footer.segments})
            kept = tuple(number for number in numbers if number > drained_to) or tuple(numbers[-1:])
            named = numbers[0], numbers[-1]
            with replacing(layout, segments.disk, branch, leaf, merged) as built:
                footer, rows = Footer(dataset.name, segments=kept), file_rows(dataset, merged)
                written = parquet.write_stream(rows, dataset.columns, footer, built, segments.disk, named=named)
                _check_rows(written, dataset, merged)
            return Compacted(branch, len(merged), sum(file.rows for file in merged))
    return None


def _worth_it(
    layout: Layout, branch: Branch, held: Sequence[FileFacts], today: date, now_s: float | None
) -> Iterator[tuple[Path, Sequence[FileFacts]]]:
    """Yield each leaf in which a merge is worth it, and the files to merge; ``held`` are in order.

    A file whose rows were other ones in its version of the schema is rewritten even if it stands alone, or is full.
    """
    this_period = branch.dataset.period_of(today)
    for leaf in layout.leaves(branch):
        inside = [file for file in held if file.path.parent == leaf]
        period = period_of(leaf)
        over = period is not None and this_period is not None and period < this_period
        chosen = plan([file.rows for file in inside], settled=over and _quiet(inside, now_s))
        if chosen is None:
            chosen = next((slice(at, at + 1) for at, file in enumerate(inside) if file.footer.is_old), None)
        if chosen is not None:
            yield leaf, inside[chosen]


def _quiet(inside: Sequence[FileFacts], now_s: float | None) -> bool:
    return now_s is None or all(file.path.stat().st_mtime < now_s - QUIET_S for file in inside)


@contextlib.contextmanager
def replacing(layout: Layout, disk: Disk, branch: Branch, leaf: Path, merged: Sequence[FileFacts]) -> Iterator[Path]:
    """Give a folder with all of ``leaf`` but the files ``merged``; at the end it takes the leaf's place, durably.

    Call it under the branch's lock. Raises CorruptFile, with nothing changed, where the merge cannot read its files.
    """
    # Not in the process's own folder, which goes when the process fails: see locks.mend.
    built = layout.built(branch) / leaf.name
    disk.make_dir(built)
    for name in set(listed(leaf)).difference(file.path.name for file in merged):
        disk.link(leaf / name, built / name)
    try:
        for file in merged:
            check_digest(file.path)
        yield built
    except (*SET_APART, FileNotFoundError) as error:
        if isinstance(error, UnreadableFile) and not error.of_itself:  # the disk is at fault, and no file
            raise
        raise CorruptFile(f"cannot merge files in {leaf}: {error}; nothing was changed") from error
    disk.sync_dir(built)
    disk.exchange(built, leaf)
    disk.sync_dir(leaf.parent)
    disk.remove_tree(built.parent)


def first_id(file: FileFacts) -> int:
    """Return the lowest id in a file of trades."""
    return file.first_id


def _last_segment(file: FileFacts) -> int:
    return max(file.footer.segments, default=0)


def _opener(path: Path, dataset: Dataset, size: int) -> Batches:
    def batches() -> Iterator[pa.Table]:
        with OpenFile(path, buffer_bytes=_READ_BYTES) as file:
            for rows in check_columns(file, dataset).read(size):
                yield rows.cast(dataset.columns)

    return batches


def file_rows(
    dataset: Dataset, merged: Sequence[FileFacts], *, first: Callable[[FileFacts], int] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of files in the table's order; of equal ones those of an earlier file come first.

    ``first`` tells the value of the first column with which a file begins, where that is known.
    """
    size = max(1, min(_BATCH, _ROWS_IN_HAND // len(merged)))
    files = ((None if first is None else first(file), _opener(file.path, dataset, size)) for file in merged)
    return in_order(files, dataset.order)


def check_ids(path: Path, expected: Spans) -> None:
    """Read the ids back from the disk: they must be exactly the ones that the merged files claimed."""
    found, rows = Spans(), 0
    for part in _opener(path, TRADES, _BATCH)():
        found.update(run.span for run in held_runs(part, ""))
        rows += part.num_rows
    if found != expected or rows != expected.count():
        raise CorruptFile(
            f"merging files of {path.parent.name} would turn {expected.count()} ids into {found.count()} ids in "
            f"{rows} rows; nothing was changed, check the disk"
        )


def _check_rows(path: Path, dataset: Dataset, merged: Sequence[FileFacts]) -> None:
    """Read the rows back from the disk: as many as there were, in order, and the same as a second merge gives."""
    written, order = _opener(path, dataset, _BATCH), dataset.order
    expected = sum(file.rows for file in merged)
    rows, ordered, last = 0, True, None
    for part in written():
        rows += part.num_rows
        ordered &= part.equals(in_row_order(order, part)) and (last is None or last <= key(order, part, 0))
        last = key(order, part, -1)
    same = _same(written(), file_rows(dataset, merged))
    if rows != expected or not ordered or not same:
        raise CorruptFile(
            f"merging files of {path.parent.name} would turn {expected} rows into {rows}, or into other ones; nothing "
            "was changed, check the disk"
        )


def _same(one: Iterator[pa.Table], other: Iterator[pa.Table]) -> bool:
    """Return whether two streams hold the same rows in the same order, however they are cut."""
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        count = min(left.num_rows, right.num_rows)
        if not left.slice(0, count).equals(right.slice(0, count)):
            return False
        left = left.slice(count) if left.num_rows > count else next(one, None)
        right = right.slice(count) if right.num_rows > count else next(other, None)
    return left is None and right is None
