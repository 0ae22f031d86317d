"""Detection of duplicates in the archive: the same ids, or the same journal segment, in two files.

The recorder never writes such files. They come from a copy beside its original, a hard or symbolic link, or a file
restored by hand, and every reader would count the rows twice. Works on footers: callers either trust them or, like
``verify_trades``, have read the rows. Takes no lock.
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
from recorder.core.segment_names import SegmentName
from recorder.core.trade_ids import Run, Span
from recorder.errors import UnsoundFile

MOVE_ONE_OUT: Final = "move one of the two out of the archive"


def same_ids(held: Iterable[tuple[Run, Path]]) -> list[Finding]:
    """Return findings for files of one pair that contain ids of other files; each file comes with its runs."""
    reach: tuple[Run, Path] | None = None
    shared: dict[tuple[Path, Path], Span] = {}
    for run, path in sorted(held):
        if reach is not None and run.span.first <= reach[0].span.last:
            shared.setdefault((reach[1], path), run.span)
        if reach is None or run.span.last > reach[0].span.last:
            reach = run, path
    return [_duplicate_finding(path, f"id {span.first}", other) for (other, path), span in shared.items()]


def same_segments(dataset: Dataset, files: Iterable[FileFacts]) -> list[Finding]:
    """Return findings for files of a table without ids that contain rows of other files.

    A segment brings one file to a folder. In a table ``by_key`` and across folders it may bring more, and merges bring
    rows of no segment: there only a byte-for-byte copy of another file is known to be a duplicate. A folder of an
    imported table has one file.
    """
    found: dict[tuple[Path, Path], Finding] = {}
    if dataset.imported:
        return _side_by_side(files)
    brought: dict[tuple[Path, SegmentName], Path] = {}
    alike: dict[tuple[int, int, tuple[SegmentName, ...]], list[Path]] = {}
    for facts in sorted(files, key=_path):
        path = facts.path
        for segment in facts.footer.segments if not dataset.by_key else ():
            other = brought.setdefault((path.parent, segment), path)
            if other != path:
                found.setdefault((other, path), _duplicate_finding(path, f"segment {segment}", other))
        if facts.rows:
            alike.setdefault((facts.size, facts.rows, facts.footer.segments), []).append(path)
    for paths in alike.values():
        for other, path in _copies(paths):
            found.setdefault((other, path), Finding(path, f"is a copy of {other}", MOVE_ONE_OUT))
    return list(found.values())


def _side_by_side(files: Iterable[FileFacts]) -> list[Finding]:
    first: dict[Path, Path] = {}
    paths = sorted(facts.path for facts in files)
    pairs = ((path, first.setdefault(path.parent, path)) for path in paths)
    problem = "lies beside {}, and may hold rows of the same days"
    return [Finding(path, problem.format(other), MOVE_ONE_OUT) for path, other in pairs if path != other]


def in_table(layout: Layout, dataset: Dataset) -> list[Finding]:
    """Return findings for duplicate files of a table, judged by their footers, and for misspelled folders.

    Raises UnsoundFile, UnreadableFile if a file cannot be read or does not match its place; FileNotFoundError if a
    compaction interferes.
    """
    found = misspelled_folders(layout, dataset)
    every: list[FileFacts] = []
    for branch in layout.branches(dataset):
        facts = [check_place(read_facts(path), branch) for path in layout.files(branch) if path.name != SCHEMA_FILE]
        found += same_ids((run, file.path) for file in facts for run in file.footer.runs)
        every += facts
    return found if dataset.has_ids else [*found, *same_segments(dataset, every)]


def check(findings: Sequence[Finding]) -> None:
    """Raise UnsoundFile if there are findings, with the first one and the number of others."""
    if findings:
        first, more = findings[0], len(findings) - 1
        also = f" ({more} more such pairs of files; `recorder verify` names them)" if more else ""
        raise UnsoundFile(first.file, first.problem + also, first.remedy)


def _copies(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the files that are exact copies of an earlier one, each with that one. Raises FileNotFoundError."""
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
