"""Compaction: merging many small neighbouring files into few large ones, without readers ever seeing a wrong row.

Contains the choice of files to merge (pure arithmetic on row counts) and the exchange of a year's folder. The new
folder is built in staging, with hard links to the files that stay; it is checked, synced, and exchanged in one step.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from recorder.archive import duplicate_files, locks, parquet
from recorder.archive.datasets import TRADES, Branch, Dataset
from recorder.archive.footer import Footer, held_runs, joined_imported
from recorder.archive.integrity import check_columns
from recorder.archive.layout import Layout, listed, period_of
from recorder.archive.ordered_merge import Batches, in_order, in_row_order, key
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile, check_digest
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.core.segment_names import SegmentName
from recorder.core.trade_ids import Spans, joined
from recorder.disk import Disk
from recorder.errors import CorruptFile, UnreadableFile

TIERS: Final = (75, 600, 5_000, 40_000, 320_000, 2_500_000)
"""Row counts at which a file enters the next tier. A merge moves each row up by at least one tier, so a row is
rewritten about six times on its way from a one-row file to a full one. A full file (half of the 5 M rows allowed, so
that no two are ever merged) is rewritten only for a newer schema version."""
FULL_ROWS: Final = TIERS[-1]
FULL_BYTES: Final = 32_000_000
"""The same in bytes, for what is split by date: a row of a book takes a fraction of the bytes of a trade."""
MANY: Final = 16
"""Number of neighbours that are merged even if they have few rows: the files of a thinly traded pair cost more than
their rows."""
QUIET_S: Final = 3600.0
"""Seconds without a new file after which a past year is merged completely: earlier, while its history is being fetched,
that would rewrite all of it for every new batch."""
_BATCH: Final = 16_384
"""Rows in memory per file being merged at most: overlapping files are all open at once."""
_ROWS_IN_HAND: Final = 262_144
"""Rows in memory of all these files together, some 30 MB."""
_READ_BYTES: Final = 65_536
"""Bytes read at once from a file, instead of a whole row group: many files may be open."""


def plan(rows: Sequence[int], *, settled: bool = False) -> slice | None:
    """Choose the next neighbouring files to merge, given their row counts in the order of their ids.

    ``settled`` means that the year is over and quiet: all files that are not full are merged, since no more will come.
    Returns None if no merge is worth it; otherwise at least two files with fewer than 5 M rows together.
    """
    if settled:
        return plan_settled(rows, full=FULL_ROWS)
    for ceiling in TIERS:
        for run in _runs(rows, ceiling, full=FULL_ROWS):
            taken = 0
            for stop in range(run.start, run.stop):
                taken += rows[stop]
                if taken >= ceiling and stop > run.start:
                    return slice(run.start, stop + 1)
            if ceiling == TIERS[0] and run.stop - run.start >= MANY:
                return run
    return None


def plan_settled(sizes: Sequence[int], *, full: int) -> slice | None:
    """Choose of files to which none will be added the next neighbours that are not ``full``; None if there are none.

    Together they have less than twice of that.
    """
    return next((run for run in _runs(sizes, full, full=full) if run.stop - run.start > 1), None)


def _runs(sizes: Sequence[int], ceiling: int, *, full: int) -> Iterator[slice]:
    """Yield the longest runs of neighbours below ``ceiling`` each and twice of what is ``full`` together."""
    start = taken = 0
    for index, count in enumerate(sizes):
        if count >= ceiling or taken + count >= 2 * full:
            if index > start:
                yield slice(start, index)
            start, taken = (index + 1, 0) if count >= ceiling else (index, count)
        else:
            taken += count
    if len(sizes) > start:
        yield slice(start, len(sizes))


@dataclass(frozen=True, slots=True)
class Compacted:
    """The result of one compaction."""

    branch: Branch
    files: int
    rows: int


def compact(archive: TradeArchive, pair: str, *, today: date, now_s: float | None = None) -> Compacted | None:
    """Do the next merge of ``pair``, if one is worth it; the rows, including their ids, stay the same.

    ``today`` is the UTC day. ``now_s``, seconds since 1970, determines which past years are quiet; without it all of
    them are. Raises CorruptFile, leaving the archive unchanged, if files do not contain what their footers claim.
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
                promise = archive.promise_of(pair, held)
                imported = joined_imported(one for file in merged for one in file.footer.imported)
                footer = Footer(TRADES.name, pair, tuple(runs), promise=promise, archive=archive.id, imported=imported)
                rows = file_rows(TRADES, merged, first=first_id)
                written = parquet.write_stream(rows, TRADES.columns, footer, built, archive.disk, named=named)
                check_ids(written, ids)
            return Compacted(branch, len(merged), sum(file.rows for file in merged))
    return None


def compact_segments(
    segments: Segments,
    branch: Branch,
    *,
    today: date,
    now_s: float | None = None,
    drained_to: Mapping[str, int] = MappingProxyType({}),
) -> Compacted | None:
    """Do the next merge of a branch of a table without ids, if one is worth it; the rows stay the same.

    Segments up to ``drained_to``, a number for each journal, have been removed from it and cannot be drained again, so
    their names are left out of the new footer, except the one with the highest number, which keeps files in order.
    Raises CorruptFile, leaving the archive unchanged.
    """
    layout, dataset = segments.layout, branch.dataset
    with segments.locked(branch):
        leaves = _over_and_parted(segments, branch, today) if dataset.period == "date" else None
        held = sorted(segments.files(branch, leaves), key=_last_segment)
        duplicate_files.check(duplicate_files.same_segments(dataset, held))
        for leaf, merged in _worth_it(layout, branch, held, today, now_s, leaves=leaves):
            names = sorted({name for file in merged for name in file.footer.segments}, key=_number)
            kept = [name for name in names if name.number > drained_to.get(name.journal, 0)] or names[-1:]
            named = (names[0].number, names[-1].number) if names else (0, 0)
            with replacing(layout, segments.disk, branch, leaf, merged) as built:
                footer = Footer(dataset.name, branch.pair, segments=tuple(kept), archive=segments.id)
                rows = file_rows(dataset, merged)
                written = parquet.write_stream(rows, dataset.columns, footer, built, segments.disk, named=named)
                check_rows(
                    written, dataset, sum(file.rows for file in merged), functools.partial(file_rows, dataset, merged)
                )
            return Compacted(branch, len(merged), sum(file.rows for file in merged))
    return None


def _over_and_parted(segments: Segments, branch: Branch, today: date) -> list[Path]:
    """Return the leaves of dates that are over and have more than one file: no other date is ever merged.

    While a date lasts it gets a file for each drain, and merging those again and again would write more files than
    the drains.
    """
    before = branch.dataset.period_of(today) or ""
    over = (leaf for leaf in segments.layout.leaves(branch) if (period_of(leaf) or before) < before)
    return [leaf for leaf in over if len(listed(leaf)) > 1]


def _worth_it(
    layout: Layout,
    branch: Branch,
    held: Sequence[FileFacts],
    today: date,
    now_s: float | None,
    *,
    leaves: Sequence[Path] | None = None,
) -> Iterator[tuple[Path, Sequence[FileFacts]]]:
    """Yield each leaf in which a merge is worth it, and the files to merge; ``held`` are in order.

    A file of an older schema version with different rows is rewritten even if it is alone or full.
    """
    this_period = branch.dataset.period_of(today)
    for leaf in layout.leaves(branch) if leaves is None else leaves:
        inside = [file for file in held if file.path.parent == leaf]
        period = period_of(leaf)
        over = period is not None and this_period is not None and period < this_period
        settled = over and _quiet(inside, now_s)
        if settled and branch.dataset.period == "date":
            chosen = plan_settled([file.size for file in inside], full=FULL_BYTES)
        else:
            chosen = plan([file.rows for file in inside], settled=settled)
        if chosen is None:
            chosen = next((slice(at, at + 1) for at, file in enumerate(inside) if file.footer.is_old), None)
        if chosen is not None:
            yield leaf, inside[chosen]


def _quiet(inside: Sequence[FileFacts], now_s: float | None) -> bool:
    return now_s is None or all(file.path.stat().st_mtime < now_s - QUIET_S for file in inside)


@contextlib.contextmanager
def replacing(layout: Layout, disk: Disk, branch: Branch, leaf: Path, merged: Sequence[FileFacts]) -> Iterator[Path]:
    """Yield a folder with all files of ``leaf`` except ``merged``; on exit it replaces the leaf, durably.

    The caller holds the branch's lock. Raises CorruptFile, with nothing changed, if the files to merge cannot be read.
    """
    # Not in the process's own staging folder, which is removed if the process fails: see locks.recover.
    built = layout.built(branch) / leaf.name
    disk.make_dir(built)
    for name in set(listed(leaf)).difference(file.path.name for file in merged):
        disk.link(leaf / name, built / name)
    try:
        for file in merged:
            check_digest(file.path)
        yield built
    except (*SET_APART, FileNotFoundError) as error:
        if isinstance(error, UnreadableFile) and not error.of_itself:  # the disk is at fault, not a file
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
    return max(map(_number, file.footer.segments), default=0)


def _number(name: SegmentName) -> int:
    return name.number


def _opener(path: Path, dataset: Dataset, size: int) -> Batches:
    def batches() -> Iterator[pa.Table]:
        with OpenFile(path, buffer_bytes=_READ_BYTES) as file:
            for rows in check_columns(file, dataset).read(size):
                yield rows.cast(dataset.columns)

    return batches


def file_rows(
    dataset: Dataset, merged: Sequence[FileFacts], *, first: Callable[[FileFacts], int] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of files in the table's order; of equal rows, those of an earlier file come first.

    ``first`` returns the value of the first sort column at the beginning of a file, if it is known.
    """
    size = max(1, min(_BATCH, _ROWS_IN_HAND // len(merged)))
    files = ((None if first is None else first(file), _opener(file.path, dataset, size)) for file in merged)
    return in_order(files, dataset.order)


def check_ids(path: Path, expected: Spans) -> None:
    """Read the ids back from the disk. Raises CorruptFile unless they are exactly those of the merged files."""
    found, rows = Spans(), 0
    for part in _opener(path, TRADES, _BATCH)():
        found.update(run.span for run in held_runs(part, ""))
        rows += part.num_rows
    if found != expected or rows != expected.count():
        raise CorruptFile(
            f"merging files of {path.parent.name} would turn {expected.count()} ids into {found.count()} ids in "
            f"{rows} rows; nothing was changed, check the disk"
        )


def check_rows(path: Path, dataset: Dataset, expected: int, again: Batches) -> None:
    """Read the rows back from the disk.

    Raises CorruptFile unless they are ordered, as many as ``expected``, and those that are read ``again``.
    """
    written, order = _opener(path, dataset, _BATCH), dataset.order
    rows, ordered, last = 0, True, None
    for part in written():
        rows += part.num_rows
        ordered &= part.equals(in_row_order(order, part)) and (last is None or last <= key(order, part, 0))
        last = key(order, part, -1)
    same = _same(written(), again())
    if rows != expected or not ordered or not same:
        raise CorruptFile(
            f"writing files of {path.parent.name} anew would turn {expected} rows into {rows}, or into other ones; "
            "nothing was changed, check the disk"
        )


def _same(one: Iterator[pa.Table], other: Iterator[pa.Table]) -> bool:
    """Return whether two streams contain the same rows in the same order, however they are split into tables."""
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        count = min(left.num_rows, right.num_rows)
        if not left.slice(0, count).equals(right.slice(0, count)):
            return False
        left = left.slice(count) if left.num_rows > count else next(one, None)
        right = right.slice(count) if right.num_rows > count else next(other, None)
    return left is None and right is None
