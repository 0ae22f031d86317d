"""Removal of old rows of a table without ids: the only way in which rows leave the archive unasked.

Rows go in steps of an eighth of the time that they are kept: at each step all rows from before a limit, which is the
same for all tables that are kept equally long, so that none tells of rows that are gone in another. A row is therefore
gone once it is nine eighths of that time old, and a file, whose newer rows have to be written again, is cut eight times
at most in the time that a row is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import parquet
from recorder.archive.compaction import check_rows, file_rows, replacing
from recorder.archive.datasets import Branch
from recorder.archive.footer import Footer
from recorder.archive.layout import period_of
from recorder.archive.parquet import FileFacts, OpenFile
from recorder.archive.segment_tables import Segments
from recorder.errors import CorruptFile

STEPS: Final = 8


def limit_us(now_s: float, keep_s: float) -> int:
    """Return the time (µs since 1970 UTC) before which rows are old, of those that are kept for ``keep_s`` seconds.

    >>> [limit_us(now_s, 80) for now_s in (100, 109, 110)]
    [20000000, 20000000, 30000000]
    """
    step_us = int(keep_s * 1e6) // STEPS
    before_us = int((now_s - keep_s) * 1e6)
    return before_us - before_us % step_us


def expire(segments: Segments, branch: Branch, *, before_us: int) -> int:
    """Remove the rows that came before ``before_us`` (µs since 1970 UTC); return how many.

    A file that has newer rows too is written anew with these alone, and still names all its segments. A reader that has
    listed a removed file gets an error, and lists again. Raises UnsoundFile, UnreadableFile, CorruptFile: then only
    folders before that are changed.
    """
    removed = 0
    with segments.locked(branch):
        by_leaf: dict[Path, list[tuple[FileFacts, bool]]] = {}
        for facts in segments.files(branch, _leaves_until(segments, branch, before_us)):
            if (rest := _rest(facts, _stamp(branch), before_us)) is not None:
                by_leaf.setdefault(facts.path.parent, []).append((facts, rest))
        for leaf, found in by_leaf.items():
            removed += _expire_leaf(segments, branch, leaf, found, before_us)
    return removed


def _leaves_until(segments: Segments, branch: Branch, before_us: int) -> list[Path] | None:
    """Return the leaves that may have rows from before a time, None for all: of many dates most are newer."""
    if branch.dataset.period != "date" or branch.dataset.stamp != branch.dataset.time:
        return None
    last = datetime.fromtimestamp(before_us // 1_000_000, UTC).date().isoformat()
    return [leaf for leaf in segments.layout.leaves(branch) if (period_of(leaf) or "") <= last]


def _rest(facts: FileFacts, stamp: str, before_us: int) -> bool | None:
    """Return whether anything of a file stays; None if all of it does."""
    with OpenFile(facts.path) as file:
        if not file.rows:
            return None
        first_us, last_us = file.span(stamp)
    return None if first_us >= before_us else last_us >= before_us


def _expire_leaf(
    segments: Segments, branch: Branch, leaf: Path, found: list[tuple[FileFacts, bool]], before_us: int
) -> int:
    removed = sum(facts.rows for facts, _ in found)
    if not any(rest for _, rest in found):
        for facts, _ in found:
            segments.disk.unlink(facts.path)
        segments.disk.sync_dir(leaf)
        return removed
    with replacing(segments.layout, segments.disk, branch, leaf, [facts for facts, _ in found]) as built:
        for facts in (facts for facts, rest in found if rest):
            removed -= _cut(segments, branch, facts, built, before_us)
    return removed


def _cut(segments: Segments, branch: Branch, facts: FileFacts, built: Path, before_us: int) -> int:
    """Write the newer rows of a file into the folder ``built``; return how many there are."""
    dataset, names = branch.dataset, facts.footer.segments
    numbers = [name.number for name in names] or [0]
    footer = Footer(dataset.name, branch.pair, segments=names, archive=segments.id)
    kept: int = sum(rows.num_rows for rows in _newer(branch, facts, before_us))
    written = parquet.write_stream(
        _newer(branch, facts, before_us),
        dataset.columns,
        footer,
        built,
        segments.disk,
        named=(min(numbers), max(numbers)),
    )
    check_rows(written, dataset, kept, lambda: _newer(branch, facts, before_us))
    return kept


def _newer(branch: Branch, facts: FileFacts, before_us: int) -> Iterator[pa.Table]:
    read = 0
    for rows in file_rows(branch.dataset, [facts]):
        read += rows.num_rows
        newer = rows.filter(pc.greater_equal(rows[_stamp(branch)].cast(pa.int64()), before_us))
        if newer.num_rows:
            yield newer
    if read != facts.rows:
        raise CorruptFile(f"{facts.path} holds {read} rows, and its footer claims {facts.rows}; nothing was changed")


def _stamp(branch: Branch) -> str:
    assert branch.dataset.stamp is not None, "a row without an id has the time at which it came"
    return branch.dataset.stamp
