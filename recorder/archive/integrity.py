"""What makes a file sound, whatever table it is of: that it can be read, and is what its footer and its place say.

Below ``verify`` (trades) and ``sound`` (all other tables), for whoever proves an archive and whoever takes rows over
into another. Takes no lock: the files of a folder are opened together, before the first row is read, so that a
compaction meanwhile takes nothing away.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
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
from recorder.disk import folders_in, names_in, undisturbed
from recorder.errors import UnknownVersion, UnreadableFile, UnsoundFile
from recorder.lazy_imports import pc

MOVE_BACK: Final = "move it back to where it belongs, or out of the archive"
_PERIODS: Final = 1_024
"""So many folders are remembered by the limits of their periods: some hundred years, or three of days."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file, and what to do."""

    file: Path
    problem: str
    remedy: str

    @classmethod
    def of(cls, error: UnsoundFile | UnreadableFile | UnknownVersion) -> Finding:
        """Return what an error tells of its file."""
        return cls(Path(error.file), error.problem, error.remedy)


@dataclass(frozen=True, slots=True)
class Days:
    """A range of UTC days, both included; None: open end."""

    first: date | None = None
    last: date | None = None

    def __contains__(self, day: date) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    def touch_period(self, period: str) -> bool:
        """Return whether a day of this period (``2025``, ``2025-11-10``) is in the range."""
        # As ISO 8601 spells them, days and years go by the alphabet.
        first, last = (None if day is None else day.isoformat()[: len(period)] for day in (self.first, self.last))
        return (first is None or period >= first) and (last is None or period <= last)

    def touch_beside(self, period: str) -> bool:
        """Return whether a day of this period, or one beside it, is in the range."""
        first, last = self.first, self.last
        return Days(
            first if first in {None, date.min} else first - timedelta(days=1),
            last if last in {None, date.max} else last + timedelta(days=1),
        ).touch_period(period)

    def touch(self, runs: Iterable[Run]) -> bool:
        """Return whether a trade of these runs may have been made in the range, or on the days beside it."""
        times_us = [time_us for run in runs for time_us in (run.first_us, run.last_us)]
        low, high = _midnight_us(self.first, -1), _midnight_us(self.last, 2)
        return (high is None or min(times_us) < high) and (low is None or max(times_us) >= low)


def _midnight_us(day: date | None, later: int) -> int | None:
    return None if day is None else ((day - _EPOCH.date()).days + later) * DAY_US


ALL_DAYS: Final = Days()


def check_place(facts: FileFacts, branch: Branch) -> FileFacts:
    """Return the facts if they can be those of a file of ``branch``: another's rows must never count as its own.

    Raises UnsoundFile.
    """
    dataset, footer, path = branch.dataset, facts.footer, facts.path
    if branch.value == NO_PARTITION and facts.rows:
        raise UnsoundFile(path, "holds rows, and lies where the table has none", MOVE_BACK)
    of_pair = dataset.has_ids and branch.value != NO_PARTITION
    if footer.table != dataset.name or (of_pair and footer.pair != branch.value):
        says, lies = (f" of {pair}" if of_pair else "" for pair in (footer.pair, branch.value))
        problem = f"says it holds {footer.table}{says}, and lies among {dataset.name}{lies}"
        raise UnsoundFile(path, problem, f"was it moved there by hand? Then {MOVE_BACK}")
    claimed = sum(len(run.span) for run in footer.runs)
    if of_pair and (claimed != facts.rows or not claimed):
        raise UnsoundFile(path, f"holds {facts.rows} rows, but its footer claims {claimed} ids", remedy(path))
    if of_pair:
        check_times((time_us for run in footer.runs for time_us in (run.first_us, run.last_us)), branch, path)
    return facts


def check_columns(file: OpenFile, dataset: Dataset) -> OpenFile:
    """Return an open file if it has the columns of its table. Raises UnsoundFile."""
    if not file.columns().equals(dataset.columns):
        raise UnsoundFile(file.path, f"has other columns than the table of {dataset.name}", remedy(file.path))
    check_kinds(file, dataset)
    return file


def check_footer(file: OpenFile, branch: Branch) -> OpenFile:
    """Return an open file if what it says of itself fits its place, its columns too. Raises UnsoundFile."""
    check_place(file.facts, branch)
    return check_columns(file, branch.dataset)


def opened(
    leaf: Path, branch: Branch, stack: contextlib.ExitStack, *, words: Sequence[str] = (), rows: bool = True
) -> tuple[list[OpenFile], list[Finding]]:
    """Open the files of a folder together; a folder may be missing.

    Returns those whose bytes are those that were written, and that say of themselves what fits their place, and what is
    wrong with others; ``words`` as for :class:`OpenFile`. Where only footers are wanted, no ``rows``, the bytes are not
    compared. Raises UnknownVersion; StorageError if the files keep changing faster than they can be listed.
    """
    try:
        there = bool(names_in(leaf))
    except SET_APART as error:
        return [], [Finding.of(error)]

    def attempt() -> tuple[list[OpenFile], list[Finding]]:
        files: list[OpenFile] = []
        findings: list[Finding] = []
        with contextlib.ExitStack() as held:
            for name in listed(leaf) if there else []:
                try:
                    check_bytes(leaf / name, rows=rows, words=words)
                    file = held.enter_context(OpenFile(leaf / name, words=words))
                    files.append(check_footer(file, branch))
                except SET_APART as error:
                    findings.append(Finding.of(error))
            stack.push(held.pop_all())
        return files, findings

    return undisturbed(attempt, f"the files in {leaf}")


def misspelled_folders(layout: Layout, dataset: Dataset) -> list[Finding]:
    """Return the files in folders of a partition that are not spelled as the recorder spells them.

    Readers that decode names, and file systems to which case is all one, take them for those of another folder. Raises
    UnlistedFolder; UnsoundFile for a link that leads nowhere.
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
    """Turn what cannot be computed of rows, which were read well, into what is wrong with their file."""
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:  # a time, say, that no calendar has
        raise UnsoundFile(path, f"is damaged: {on_one_line(error)}", remedy(path)) from error


def check_period(rows: pa.Table, branch: Branch, leaf: Path, path: Path) -> None:
    """Hold the times of rows against the folder in which they lie. Raises UnsoundFile."""
    dataset = branch.dataset
    if dataset.period is None or not rows.num_rows:
        return
    for moment in pc.min_max(rows[dataset.time]).as_py().values():
        _check_moment(moment, branch, leaf, path)


def check_times(times_us: Iterable[int], branch: Branch, path: Path) -> None:
    """Hold times that a footer claims (µs since 1970 UTC) against the folder of the file. Raises UnsoundFile."""
    if branch.dataset.period is None:
        return
    first_us, last_us = _limits_us(path.parent.name)
    for time_us in times_us:
        if not first_us <= time_us <= last_us:
            with checking(path):
                _check_moment(_EPOCH + timedelta(microseconds=time_us), branch, path.parent, path)


@functools.lru_cache(_PERIODS)
def _limits_us(folder: str) -> tuple[int, int]:
    """Return the limits of the period that a folder is named by, in µs since 1970 UTC; none fits where it is none."""
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
    """Return the Parquet files at a path and below it, sorted, also links that lead nowhere. Raises UnlistedFolder."""
    if not entry.is_dir():
        return [entry] if entry.suffix == SUFFIX and (entry.is_file() or entry.is_symlink()) else []
    if entry.is_symlink():
        return []
    return [path for name in names_in(entry) for path in parquet_in(entry / name)]
