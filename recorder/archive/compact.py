"""Merge neighbours: many small files become few large ones, and no reader ever sees a wrong row.

Owns: which files are merged (pure arithmetic on row counts) and the exchange of a year's directory. A new
directory is built aside, with hard links to what is left alone, checked, synced, and swapped in one step.
"""

from __future__ import annotations

import contextlib
import functools
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive import files, read
from recorder.archive.append import TradeArchive
from recorder.archive.coverage import FileFacts
from recorder.archive.files import Layout
from recorder.archive.schema import Footer, held_runs
from recorder.archive.segments import Segments
from recorder.archive.tables import TRADES, Branch, Table
from recorder.core.ids import Spans, joined
from recorder.disk import Disk
from recorder.errors import CorruptFile

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


def compact(archive: TradeArchive, pair: str, *, this_year: int, now_s: float | None = None) -> Compacted | None:
    """Do the next merge of ``pair``, if one is worth it; the rows stay the same, ids and all.

    ``now_s``, seconds since 1970, tells which past years have been quiet; without it all of them count so.
    Raises CorruptFile, with the archive untouched, where the files do not hold what their footers say.
    """
    branch = Branch(TRADES, pair)
    with files.branch_lock(archive.layout, branch):
        files.mend(archive.layout, archive.disk, branch)
        held = sorted(archive.coverage.files(pair), key=_first_id)
        for leaf, merged in _worth_it(archive.layout.leaves(branch), held, this_year, now_s):
            runs = joined(run for file in merged for run in file.footer.runs)
            ids = Spans(run.span for run in runs)
            footer = Footer("trades", pair, tuple(runs))
            name = files.new_name(ids.first or 0, ids.last or 0)
            with _replacing(archive.layout, archive.disk, branch, leaf, merged) as built:
                _merge(_in_order(TRADES, merged, first=_first_id), TRADES, footer, built / name, archive.disk)
                _check(built / name, pair, ids)
            return Compacted(branch, len(merged), sum(file.rows for file in merged))
    return None


def compact_segments(
    segments: Segments, branch: Branch, *, this_year: int, now_s: float | None = None, drained_to: int = 0
) -> Compacted | None:
    """Do the next merge of a branch of a table without ids, if one is worth it; the rows stay the same.

    Segments up to ``drained_to`` have left the journal for good: none of them can be drained again, so their numbers
    are left out of the new footer, but for the highest, which keeps files in order. Raises CorruptFile, with the
    archive untouched.
    """
    layout, table = segments.layout, branch.table
    with segments.locked(branch):
        held = sorted(segments.files(branch), key=_last_segment)
        for leaf, merged in _worth_it(layout.leaves(branch), held, this_year, now_s):
            numbers = sorted({number for file in merged for number in file.footer.segments})
            kept = tuple(number for number in numbers if number > drained_to) or tuple(numbers[-1:])
            name = files.new_name(numbers[0], numbers[-1])
            with _replacing(layout, segments.disk, branch, leaf, merged) as built:
                footer = Footer(table.name, segments=kept)
                _merge(_in_order(table, merged), table, footer, built / name, segments.disk)
                _check_rows(built / name, table, merged)
            return Compacted(branch, len(merged), sum(file.rows for file in merged))
    return None


def _worth_it(
    leaves: Sequence[Path], held: Sequence[FileFacts], this_year: int, now_s: float | None
) -> Iterator[tuple[Path, Sequence[FileFacts]]]:
    """Yield each leaf in which a merge is worth it, and the files to merge; ``held`` are in order.

    A file of an older version of the schema is rewritten even if it stands alone, or is full.
    """
    for leaf in leaves:
        inside = [file for file in held if file.path.parent == leaf]
        year = files.year_of(leaf)
        over = year is not None and year < this_year
        chosen = plan([file.rows for file in inside], settled=over and _quiet(inside, now_s))
        if chosen is None:
            chosen = next((slice(at, at + 1) for at, file in enumerate(inside) if file.footer.is_old), None)
        if chosen is not None:
            yield leaf, inside[chosen]


def _quiet(inside: Sequence[FileFacts], now_s: float | None) -> bool:
    return now_s is None or all(file.path.stat().st_mtime < now_s - QUIET_S for file in inside)


@contextlib.contextmanager
def _replacing(layout: Layout, disk: Disk, branch: Branch, leaf: Path, merged: Sequence[FileFacts]) -> Iterator[Path]:
    """Give a folder with all of ``leaf`` but the files ``merged``; at the end it takes the leaf's place, durably.

    Call it under the branch's lock. Raises CorruptFile, with nothing changed, where the merge cannot read its files.
    """
    # Not in the process's own folder, which goes when the process fails: see files.mend.
    built = layout.built(branch) / leaf.name
    disk.make_dir(built)
    for name in set(files.listed(leaf)).difference(file.path.name for file in merged):
        disk.link(leaf / name, built / name)
    try:
        yield built
    except (pa.ArrowInvalid, OSError) as error:  # pyarrow's words for damage are both; the disk's is DiskError
        raise CorruptFile(f"cannot merge files in {leaf}: {error}; nothing was changed") from error
    disk.sync_dir(built)
    disk.exchange(built, leaf)
    disk.sync_dir(leaf.parent)
    disk.remove_tree(built.parent)


def _first_id(file: FileFacts) -> int:
    return file.first_id


def _last_segment(file: FileFacts) -> int:
    return max(file.footer.segments, default=0)


def _merge(rows: Iterable[pa.Table], table: Table, footer: Footer, target: Path, disk: Disk) -> None:
    """Write ``rows`` as one file; memory is a few row groups."""
    with disk.create(target) as file:
        with files.writer(_Sink(disk, file), table.columns, footer, level=files.MERGED_LEVEL) as parquet:
            waiting: list[pa.RecordBatch] = []
            held = 0
            for part in rows:
                waiting.extend(part.to_batches())
                held += part.num_rows
                if held >= files.ROW_GROUP:
                    joined = pa.Table.from_batches(waiting)
                    whole = joined.num_rows - joined.num_rows % files.ROW_GROUP
                    parquet.write_table(joined.slice(0, whole), row_group_size=files.ROW_GROUP)
                    waiting = joined.slice(whole).to_batches()
                    held -= whole
            if waiting:
                parquet.write_table(pa.Table.from_batches(waiting), row_group_size=files.ROW_GROUP)
        disk.sync(file)


def _batches(path: Path, columns: pa.Schema, size: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(path, page_checksum_verification=True, buffer_size=_READ_BYTES) as parquet:
        for rows in read.batches(parquet, read.footer_of(parquet, path), size):
            yield rows.cast(columns)


def _in_order(
    table: Table, merged: Sequence[FileFacts], *, first: Callable[[FileFacts], Any] | None = None
) -> Iterator[pa.Table]:
    """Merge files that are each sorted in the table's order; of equal rows those of an earlier file come first.

    Each round takes from every open file the rows up to the lowest key at which one of the batches in hand ends.
    ``first`` tells the value of the first column with which a file begins, and that ``merged`` are in its order: then
    a file is opened only when its turn comes.
    """
    size = max(1, min(_BATCH, _ROWS_IN_HAND // len(merged)))
    waiting = deque(merged)
    heads: list[tuple[pa.Table, Iterator[pa.Table]]] = []
    while waiting or heads:
        end = min((_key(table, rows, -1) for rows, _ in heads), default=())
        if waiting and (not end or first is None or first(waiting[0]) <= end[0]):
            batches = _batches(waiting.popleft().path, table.columns, size)
            if (rows := next(batches, None)) is not None:
                heads.append((rows, batches))
            continue
        parts, left = [], []
        for rows, batches in heads:
            cut = bisect_right(range(rows.num_rows), end, key=functools.partial(_key, table, rows))
            parts.append(rows.slice(0, cut))
            rest = rows.slice(cut) if cut < rows.num_rows else next(batches, None)
            if rest is not None:
                left.append((rest, batches))
        heads = left
        yield parts[0] if len(parts) == 1 else _sorted(table, pa.concat_tables(parts))


def _key(table: Table, rows: pa.Table, index: int) -> tuple[Any, ...]:
    return tuple(rows[name][index].as_py() for name in table.order)


def _sorted(table: Table, rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in table.order])  # stable


def _check(path: Path, pair: str, expected: Spans) -> None:
    """Read the ids back from the disk: they must be exactly the ones that the merged files claimed."""
    found, rows = Spans(), 0
    for table in _batches(path, TRADES.columns, _BATCH):
        found.update(run.span for run in held_runs(table, pair))
        rows += table.num_rows
    if found != expected or rows != expected.count():
        raise CorruptFile(
            f"merging files of {path.parent.name} would turn {expected.count()} ids into {found.count()} ids in "
            f"{rows} rows; nothing was changed, check the disk"
        )


def _check_rows(path: Path, table: Table, merged: Sequence[FileFacts]) -> None:
    """Read the rows back from the disk: as many as there were, in order, and the same as a second merge gives."""
    expected = sum(file.rows for file in merged)
    rows, in_order, last = 0, True, None
    for part in _batches(path, table.columns, _BATCH):
        rows += part.num_rows
        in_order &= part.equals(_sorted(table, part)) and (last is None or last <= _key(table, part, 0))
        last = _key(table, part, -1)
    same = _same(_batches(path, table.columns, _BATCH), _in_order(table, merged))
    if rows != expected or not in_order or not same:
        raise CorruptFile(
            f"merging files of {path.parent.name} would turn {expected} rows into {rows}, or into other ones; nothing "
            "was changed, check the disk"
        )


def _same(one: Iterator[pa.Table], other: Iterator[pa.Table]) -> bool:
    """Tell whether two streams hold the same rows in the same order, however they are cut."""
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        count = min(left.num_rows, right.num_rows)
        if not left.slice(0, count).equals(right.slice(0, count)):
            return False
        left = left.slice(count) if left.num_rows > count else next(one, None)
        right = right.slice(count) if right.num_rows > count else next(other, None)
    return left is None and right is None


class _Sink:
    """The little that pyarrow asks of a file to write to, through the disk."""

    def __init__(self, disk: Disk, file: BinaryIO) -> None:
        self._disk = disk
        self._file = file
        self.closed = False

    def write(self, content: bytes) -> int:
        self._disk.write(self._file, content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
