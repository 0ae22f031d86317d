"""Soundness checks for files of any table: a file must be readable and match its footer and its place.

Used by :mod:`verify_trades` and :mod:`verify_tables`, and so for both verifying and merging archives. Takes no lock:
all files of a folder are opened before the first row is read, so a compaction that runs meanwhile removes nothing.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa

from recorder.archive.check_readable import check_bytes
from recorder.archive.datasets import NO_PARTITION, Branch, Dataset, remedy
from recorder.archive.footer_claims import check_kinds
from recorder.archive.layout import SUFFIX, Layout, listed
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile, on_one_line
from recorder.core.certificate import DAY_US
from recorder.core.trade_ids import Run
from recorder.disk import folders_in, listing, names_in, undisturbed
from recorder.errors import UnknownVersion, UnreadableFile, UnsoundFile
from recorder.lazy_imports import pc

MOVE_BACK: Final = "move it back to where it belongs, or out of the archive"
_PERIODS: Final = 1_024
"""Folders whose period limits are cached: about a thousand years, or three years of days."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a file, and its remedy."""

    file: Path
    problem: str
    remedy: str

    @classmethod
    def of(cls, error: UnsoundFile | UnreadableFile | UnknownVersion) -> Finding:
        """Return an error about a file as a finding."""
        return cls(Path(error.file), error.problem, error.remedy)


@dataclass(frozen=True, slots=True)
class Days:
    """A range of UTC days, both ends included; None is an open end."""

    first: date | None = None
    last: date | None = None

    def __contains__(self, day: date) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    def touch_period(self, period: str) -> bool:
        """Return whether a day of this period (``2025``, ``2025-11-10``) is in the range."""
        # ISO 8601 days and years sort alphabetically.
        first, last = (None if day is None else day.isoformat()[: len(period)] for day in (self.first, self.last))
        return (first is None or period >= first) and (last is None or period <= last)

    def touch_beside(self, period: str) -> bool:
        """Return whether a day of this period, or an adjacent day, is in the range."""
        first, last = self.first, self.last
        return Days(
            first if first in {None, date.min} else first - timedelta(days=1),
            last if last in {None, date.max} else last + timedelta(days=1),
        ).touch_period(period)

    def touch(self, runs: Iterable[Run]) -> bool:
        """Return whether a trade of these runs may be in the range, or on a day adjacent to it."""
        times_us = [time_us for run in runs for time_us in (run.first_us, run.last_us)]
        low, high = _midnight_us(self.first, -1), _midnight_us(self.last, 2)
        return (high is None or min(times_us) < high) and (low is None or max(times_us) >= low)


def _midnight_us(day: date | None, later: int) -> int | None:
    return None if day is None else ((day - _EPOCH.date()).days + later) * DAY_US


ALL_DAYS: Final = Days()


def check_place(facts: FileFacts, branch: Branch) -> FileFacts:
    """Return the facts if the file can belong to ``branch``: rows of another branch must never count as its own.

    Raises UnsoundFile.
    """
    dataset, footer, path = branch.dataset, facts.footer, facts.path
    if branch.value == NO_PARTITION and facts.rows:
        raise UnsoundFile(path, "holds rows, and lies where the table has none", MOVE_BACK)
    of_pair = dataset.by_pair and branch.value != NO_PARTITION
    if footer.table != dataset.name or (of_pair and footer.pair != branch.value):
        says, lies = (f" of {pair}" if of_pair else "" for pair in (footer.pair, branch.value))
        problem = f"says it holds {footer.table}{says}, and lies among {dataset.name}{lies}"
        raise UnsoundFile(path, problem, f"was it moved there by hand? Then {MOVE_BACK}")
    if of_pair and dataset.imported and (footer.history is None or footer.history.rows != facts.rows):
        raise UnsoundFile(path, f"holds {facts.rows} rows, and its footer claims others", remedy(path))
    if not (of_pair and dataset.has_ids):
        return facts
    claimed = sum(len(run.span) for run in footer.runs)
    if claimed != facts.rows or not claimed:
        raise UnsoundFile(path, f"holds {facts.rows} rows, but its footer claims {claimed} ids", remedy(path))
    check_times((time_us for run in footer.runs for time_us in (run.first_us, run.last_us)), branch, path)
    return facts


def check_columns(file: OpenFile, dataset: Dataset) -> OpenFile:
    """Return an open file if it has the columns of its table. Raises UnsoundFile."""
    if not file.columns().equals(dataset.columns):
        raise UnsoundFile(file.path, f"has other columns than the table of {dataset.name}", remedy(file.path))
    check_kinds(file, dataset)
    return file


def check_footer(file: OpenFile, branch: Branch) -> OpenFile:
    """Return an open file if its footer and columns match its place. Raises UnsoundFile."""
    check_place(file.facts, branch)
    return check_columns(file, branch.dataset)


def opened(
    leaf: Path,
    branch: Branch,
    stack: contextlib.ExitStack,
    *,
    words: Sequence[str] = (),
    rows: bool = True,
    but: Container[str] = (),
    check: Callable[[Path], None] | None = None,
) -> tuple[list[OpenFile], list[Finding]]:
    """Open the files of a folder together, except those named in ``but``; the folder may be missing.

    Returns the files whose bytes match their digest and whose footer matches their place, and the findings about the
    others; ``words`` as for :class:`OpenFile`. If only footers are needed, without ``rows``, the bytes are not checked.
    ``check`` replaces the check of bytes.
    Raises UnknownVersion; StorageError if the files keep changing faster than they can be listed.
    """
    try:
        there = bool(names_in(leaf))
    except SET_APART as error:
        return [], [Finding.of(error)]

    def attempt() -> tuple[list[OpenFile], list[Finding]]:
        files: list[OpenFile] = []
        findings: list[Finding] = []
        with contextlib.ExitStack() as held:
            for name in (name for name in (listed(leaf) if there else []) if name not in but):
                try:
                    (check or functools.partial(check_bytes, rows=rows, words=words))(leaf / name)
                    file = held.enter_context(OpenFile(leaf / name, words=words))
                    files.append(check_footer(file, branch))
                except SET_APART as error:
                    findings.append(Finding.of(error))
            stack.push(held.pop_all())
        return files, findings

    return undisturbed(attempt, f"the files in {leaf}")


def misspelled_folders(layout: Layout, dataset: Dataset) -> list[Finding]:
    """Return findings for files in partition folders that are not spelled as the recorder spells them.

    Readers that decode names, and file systems that ignore case, would assign them to another folder. Raises
    UnlistedFolder; UnsoundFile for a dangling link.
    """
    prefix, folder = f"{dataset.partition}=", layout.folder(dataset)
    if dataset.partition is None:
        return []
    found = []
    for name in folders_in(folder):
        right = Branch(dataset, unquote(name.removeprefix(prefix))).folder
        if name.startswith(prefix) and name != right:
            problem = f"lies in {name}, and the recorder spells that folder {right}"
            found += [Finding(path, problem, MOVE_BACK) for path in parquet_in(folder / name)]
    return found


@contextlib.contextmanager
def checking(path: Path) -> Iterator[None]:
    """Raise UnsoundFile for errors in computations on rows that were read successfully."""
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:  # such as a time outside the calendar
        raise UnsoundFile(path, f"is damaged: {on_one_line(error)}", remedy(path)) from error


def check_period(rows: pa.Table, branch: Branch, leaf: Path, path: Path) -> None:
    """Check the times of rows against their folder. Raises UnsoundFile."""
    dataset = branch.dataset
    if dataset.period is None or not rows.num_rows:
        return
    for moment in pc.min_max(rows[dataset.time]).as_py().values():
        _check_moment(moment, branch, leaf, path)


def check_times(times_us: Iterable[int], branch: Branch, path: Path) -> None:
    """Check times claimed by a footer (µs since 1970 UTC) against the file's folder. Raises UnsoundFile."""
    if branch.dataset.period is None:
        return
    first_us, last_us = _limits_us(path.parent.name)
    for time_us in times_us:
        if not first_us <= time_us <= last_us:
            with checking(path):
                _check_moment(_EPOCH + timedelta(microseconds=time_us), branch, path.parent, path)


@functools.lru_cache(_PERIODS)
def _limits_us(folder: str) -> tuple[int, int]:
    """Return the time limits of a folder's period in µs since 1970 UTC; an empty range if it names no valid period."""
    key, _, value = folder.partition("=")
    try:
        first = date(int(value), 1, 1) if key == "year" else date.fromisoformat(value)
        last = first.replace(month=12, day=31) if key == "year" else first
    except ValueError:
        return 1, 0
    days = (first - _EPOCH.date()).days, (last - _EPOCH.date()).days + 1
    return days[0] * DAY_US, days[1] * DAY_US - 1


def _check_moment(moment: date, branch: Branch, leaf: Path, path: Path) -> None:
    if (period := branch.dataset.period_of(moment)) != leaf.name.partition("=")[2]:
        raise UnsoundFile(path, f"holds a row of {period}, and lies in {leaf.name}", MOVE_BACK)


def parquet_in(entry: Path) -> list[Path]:
    """Return the Parquet files at a path and below it, sorted, including dangling links. Raises UnlistedFolder."""
    with listing(entry.parent):
        if not entry.is_dir():
            return [entry] if entry.suffix == SUFFIX and (entry.is_file() or entry.is_symlink()) else []
        if entry.is_symlink():
            return []
    return [path for name in names_in(entry) for path in parquet_in(entry / name)]
