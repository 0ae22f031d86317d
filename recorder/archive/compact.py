"""Merge neighbours: many small files become few large ones, and no reader ever sees a wrong row.

Owns: which files are merged (pure arithmetic on row counts) and the exchange of a year's directory. A new
directory is built aside, with hard links to what is left alone, checked, synced, and swapped in one step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recorder.archive import files
from recorder.archive.append import TradeArchive
from recorder.archive.coverage import FileFacts
from recorder.archive.schema import TRADES, Footer, HeldSpan, held_spans
from recorder.core.model import Span
from recorder.core.spans import Spans
from recorder.disk import Disk
from recorder.errors import CorruptFile

TIERS: Final = (75, 600, 5_000, 40_000, 320_000, 2_500_000)
"""Row counts at which a file enters the next tier. A merge lifts every row in it by a tier at least, so a row is
rewritten about six times on its way from one row a file to a full one; a full file (half of the 5 M rows that a
file may have, so that two never fit) is never touched."""
FULL_ROWS: Final = TIERS[-1]
MANY: Final = 16
"""So many neighbours are merged even if few rows come of it: a thin pair's files cost more than its rows."""
QUIET_S: Final = 3600.0
"""A year that is over is merged for good once so long nothing came to it: while its history is being fetched, that
would rewrite all of it for every new batch."""
_BATCH: Final = 16_384
"""Rows in hand of each file that is being merged: files that overlap are all open at once."""


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

    pair: str
    files: int
    rows: int


def compact(archive: TradeArchive, pair: str, *, this_year: int, now_s: float | None = None) -> Compacted | None:
    """Do the next merge of ``pair``, if one is worth it; the rows stay the same, ids and all.

    ``now_s``, seconds since 1970, tells which past years have been quiet; without it all of them count so.
    Raises CorruptFile, with the archive untouched, where the files do not hold what their footers say.
    """
    with files.pair_lock(archive.layout, pair):
        files.mend(archive.layout, archive.disk, pair)
        held = archive.coverage.files(pair)
        for year in archive.layout.years(pair):
            inside = sorted((file for file in held if file.path.parent == year), key=lambda file: file.first_id)
            over = int(year.name.removeprefix("year=")) < this_year
            chosen = plan([file.rows for file in inside], settled=over and _quiet(inside, now_s))
            if chosen is not None:
                merged = inside[chosen]
                _replace(archive, pair, year, merged=merged, kept=inside[: chosen.start] + inside[chosen.stop :])
                return Compacted(pair, len(merged), sum(file.rows for file in merged))
    return None


def _quiet(inside: Sequence[FileFacts], now_s: float | None) -> bool:
    return now_s is None or all(file.path.stat().st_mtime < now_s - QUIET_S for file in inside)


def _replace(
    archive: TradeArchive, pair: str, year: Path, *, merged: Sequence[FileFacts], kept: Sequence[FileFacts]
) -> None:
    disk = archive.disk
    # Not in the process's own folder, which goes when the process fails: see files.mend.
    built = archive.layout.built_dir(pair) / year.name
    disk.make_dir(built)
    for file in kept:
        disk.link(file.path, built / file.path.name)
    ids = Spans(Span(span.first_id, span.last_id) for file in merged for span in file.footer.spans)
    target = built / files.new_name(ids.first or 0, ids.last or 0)
    try:
        _merge(merged, Footer("trades", pair, _joined(merged)), target, disk)
        _check(target, ids)
    except (pa.ArrowInvalid, OSError) as error:  # pyarrow's words for damage are both; the disk's is DiskError
        raise CorruptFile(f"cannot merge files of {pair} in {year.name}: {error}; nothing was changed") from error
    disk.sync_dir(built)
    disk.exchange(built, year)
    disk.sync_dir(year.parent)
    disk.remove_tree(built.parent)


def _joined(merged: Sequence[FileFacts]) -> tuple[HeldSpan, ...]:
    joined: list[HeldSpan] = []
    for span in sorted(span for file in merged for span in file.footer.spans):
        if joined and joined[-1].last_id + 1 == span.first_id:
            before = joined.pop()
            span = HeldSpan(before.first_id, span.last_id, before.first_us, span.last_us)  # noqa: PLW2901
        joined.append(span)
    return tuple(joined)


def _merge(merged: Sequence[FileFacts], footer: Footer, target: Path, disk: Disk) -> None:
    """Write the rows of ``merged`` as one sorted file; memory is a few row groups."""
    with disk.create(target) as file:
        with files.writer(_Sink(disk, file), TRADES, footer, level=files.MERGED_LEVEL) as parquet:
            waiting: list[pa.RecordBatch] = []
            held = 0
            for table in _in_order(merged):
                waiting.extend(table.to_batches())
                held += table.num_rows
                if held >= files.ROW_GROUP:
                    rows = pa.Table.from_batches(waiting)
                    whole = rows.num_rows - rows.num_rows % files.ROW_GROUP
                    parquet.write_table(rows.slice(0, whole), row_group_size=files.ROW_GROUP)
                    waiting = rows.slice(whole).to_batches()
                    held -= whole
            if waiting:
                parquet.write_table(pa.Table.from_batches(waiting), row_group_size=files.ROW_GROUP)
        disk.sync(file)


def _batches(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        for batch in parquet.iter_batches(_BATCH):
            yield pa.Table.from_batches([batch]).cast(TRADES)


def _in_order(merged: Sequence[FileFacts]) -> Iterator[pa.Table]:
    """Merge files that are each sorted by id, and disjoint, in ascending id; a file is opened when its turn comes.

    Each round takes from every open file the rows up to the lowest id at which one of the batches in hand ends.
    """
    waiting = deque(sorted(merged, key=lambda file: file.first_id))
    heads: list[tuple[pa.Table, Iterator[pa.Table]]] = []
    while waiting or heads:
        end = min((_last_id(rows) for rows, _ in heads), default=None)
        if waiting and (end is None or waiting[0].first_id <= end):
            batches = _batches(waiting.popleft().path)
            heads.append((next(batches), batches))
            continue
        parts, left = [], []
        for rows, batches in heads:
            cut = int(pc.sum(pc.less_equal(rows["trade_id"], end)).as_py() or 0)
            parts.append(rows.slice(0, cut))
            rest = rows.slice(cut) if cut < rows.num_rows else next(batches, None)
            if rest is not None:
                left.append((rest, batches))
        heads = left
        yield parts[0] if len(parts) == 1 else pa.concat_tables(parts).sort_by("trade_id")


def _last_id(rows: pa.Table) -> int:
    return int(rows["trade_id"][-1].as_py())


def _check(path: Path, expected: Spans) -> None:
    """Read the ids back from the disk: they must be exactly the ones that the merged files claimed."""
    found, rows = Spans(), 0
    for table in _batches(path):
        found.update(Span(span.first_id, span.last_id) for span in held_spans(table))
        rows += table.num_rows
    if found != expected or rows != expected.count():
        raise CorruptFile(
            f"merging files of {path.parent.name} would turn {expected.count()} ids into {found.count()} ids in "
            f"{rows} rows; nothing was changed, check the disk"
        )


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
