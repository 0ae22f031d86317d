"""What lies in the archive twice: the same ids, or the same journal segment, in two files.

The recorder never writes such files; a copy beside its original, a hard link or a symbolic one, and a file put back by
hand do it, and every reader would count the rows twice. Owns: how footers tell. Below whoever asks, who believes
footers, and ``verify``, which has read the rows. Takes no lock.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from recorder.archive.datasets import SCHEMA_FILE, Dataset
from recorder.archive.integrity import Finding, check_place, misspelled_folders
from recorder.archive.layout import Layout
from recorder.archive.parquet import FileFacts, read_facts
from recorder.core.trade_ids import Run, Span
from recorder.errors import UnsoundFile

MOVE_ONE_OUT: Final = "move one of the two out of the archive"


def same_ids(held: Iterable[tuple[Run, Path]]) -> list[Finding]:
    """Return what is wrong with files of one pair that hold ids that others hold too; each comes with its runs."""
    reach: tuple[Run, Path] | None = None
    shared: dict[tuple[Path, Path], Span] = {}
    for run, path in sorted(held):
        if reach is not None and run.span.first <= reach[0].span.last:
            shared.setdefault((reach[1], path), run.span)
        if reach is None or run.span.last > reach[0].span.last:
            reach = run, path
    return [_duplicate_finding(path, f"id {span.first}", other) for (other, path), span in shared.items()]


def same_segments(dataset: Dataset, files: Iterable[FileFacts]) -> list[Finding]:
    """Return what is wrong with files of a table without ids that bring rows twice.

    A segment brings one file to a folder. Where it may bring more, to a table ``by_key`` and in merges, whose number is
    0, and between folders, only a file with the very bytes of another is known to be one too many.
    """
    found: dict[tuple[Path, Path], Finding] = {}
    brought: dict[tuple[Path, int], Path] = {}
    alike: dict[tuple[int, int, tuple[int, ...]], list[Path]] = {}
    for facts in sorted(files, key=_path):
        path = facts.path
        for segment in facts.footer.segments if not dataset.by_key else ():
            other = brought.setdefault((path.parent, segment), path)
            if segment > 0 and other != path:
                found.setdefault((other, path), _duplicate_finding(path, f"segment {segment}", other))
        if facts.rows:
            alike.setdefault((facts.size, facts.rows, facts.footer.segments), []).append(path)
    for paths in alike.values():
        for other, path in _copies(paths):
            found.setdefault((other, path), Finding(path, f"is a copy of {other}", MOVE_ONE_OUT))
    return list(found.values())


def in_table(layout: Layout, dataset: Dataset) -> list[Finding]:
    """Return what is wrong with files of a table that hold what others do, by their footers, and with their folders.

    Raises UnsoundFile, UnreadableFile where a file cannot be read, or cannot be what its place says;
    FileNotFoundError where a compaction came between.
    """
    found = misspelled_folders(layout, dataset)
    every: list[FileFacts] = []
    for branch in layout.branches(dataset):
        facts = [check_place(read_facts(path), branch) for path in layout.files(branch) if path.name != SCHEMA_FILE]
        found += same_ids((run, file.path) for file in facts for run in file.footer.runs)
        every += facts
    return found if dataset.has_ids else [*found, *same_segments(dataset, every)]


def check(findings: Sequence[Finding]) -> None:
    """Return if there are none. Raises UnsoundFile, which tells the first and how many more there are."""
    if findings:
        first, more = findings[0], len(findings) - 1
        also = f" ({more} more such pairs of files; `recorder verify` names them)" if more else ""
        raise UnsoundFile(first.file, first.problem + also, first.remedy)


def _copies(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the files that hold the same bytes as one before them, each with that one. Raises FileNotFoundError."""
    firsts: list[Path] = []
    found = []
    for path in paths:
        same = next((first for first in firsts if filecmp.cmp(first, path, shallow=False)), None)
        if same is None:
            firsts.append(path)
        else:
            found.append((same, path))
    return found


def _duplicate_finding(path: Path, what: str, other: Path) -> Finding:
    return Finding(path, f"holds {what} as {other} does", MOVE_ONE_OUT)


def _path(facts: FileFacts) -> Path:
    return facts.path
