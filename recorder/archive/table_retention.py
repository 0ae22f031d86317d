"""Removal of old rows of a table without ids, by whole files: the only way in which rows leave the archive unasked."""

from __future__ import annotations

from recorder.archive.datasets import Branch
from recorder.archive.parquet import OpenFile
from recorder.archive.segment_tables import Segments


def expire(segments: Segments, branch: Branch, *, before_us: int) -> int:
    """Remove the files all of whose rows came before ``before_us`` (µs since 1970 UTC); return how many.

    Rows are kept longer than that while their file has newer ones: compaction joins rows of one year only, and leaves
    full files alone. A reader that has listed a removed file gets an error, and lists again. Raises UnsoundFile,
    UnreadableFile, with the files before it removed.
    """
    stamp = branch.dataset.stamp
    assert stamp is not None, "a row without an id has the time at which it came"
    removed = 0
    with segments.locked(branch):
        for facts in segments.files(branch):
            with OpenFile(facts.path) as file:
                is_old = file.rows > 0 and file.span(stamp)[1] < before_us
            if is_old:
                segments.disk.unlink(facts.path)
                segments.disk.sync_dir(facts.path.parent)
                removed += 1
    return removed
