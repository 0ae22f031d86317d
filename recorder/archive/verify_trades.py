"""Verification of all stored trades of a pair: their ids, days and faults, computed from the rows.

Defines when a file of trades is sound: its footer, its place and its checksums are compared with its rows; no claim of
a file is trusted. An unsound file proves nothing, so its rows do not count, and its fault is reported as a finding; the
other files are read nevertheless. Takes no lock: files never change, and all files of a year are opened before the
first row is read, so a compaction that runs meanwhile removes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import accumulate, pairwise, zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recorder.archive import duplicate_files, integrity
from recorder.archive.datasets import TRADES, Branch, remedy
from recorder.archive.digest_text import digest_text
from recorder.archive.footer import held_runs, imported_ids, imported_spans
from recorder.archive.footer_claims import FooterClaims
from recorder.archive.integrity import ALL_DAYS, Days, Finding, parquet_in
from recorder.archive.layout import Layout, period_of, size_of
from recorder.archive.ordered_merge import in_order
from recorder.archive.parquet import SET_APART, OpenFile
from recorder.core import evidence
from recorder.core.certificate import DAY_US, DayRows
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, Spans, joined
from recorder.disk import names_in
from recorder.errors import UnsoundFile

_BATCH: Final = 32_768
"""Rows in memory per file at most: overlapping files of one year are read side by side."""
_ROWS_IN_HAND: Final = 1_048_576
"""Rows in memory of all these files together, some 70 MB."""
_WORDS: Final = ("side", "ord_type", "misc", "source")
"""Columns with few distinct values, read as dictionaries: a text per row would cost a third of the reading time."""
_NEEDED: Final = ["trade_id", "time", "price", "qty", "side"]
"""Columns whose values are checked; the others are read for their checksums."""
_AHEAD: Final = 4
"""Batches that wait to be hashed: enough to keep both cores busy, few enough to bound memory."""
BACK_US: Final = 10_000_000
"""Tolerance for times that decrease as ids increase, in µs. Trades are numbered as they are made, and their times step
back by fractions of a second at most."""
STEPS_BACK: Final = 1_000
"""Steps back stored per pair at most: more than this have a common cause and are not chance."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class StepBack:
    """A trade whose time is more than :data:`BACK_US` before that of the trade below it; times in µs since 1970 UTC."""

    trade_id: int
    below_us: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Content:
    """The verified content of the files of a pair: runs of ids, rows of each day, and findings.

    ``promise`` is the promise recorded in the files; ``steps_back`` are up to :data:`STEPS_BACK` places where the
    exchange's ids and times run in opposite directions.
    """

    pair: str
    runs: tuple[Run, ...]
    days: Mapping[date, DayRows]
    findings: tuple[Finding, ...]
    promise: Promise | None = None
    steps_back: tuple[StepBack, ...] = ()


def read(
    layout: Layout, pair: str, pool: Executor, *, days: Days = ALL_DAYS, done: Callable[[int], None] = lambda _: None
) -> Content:
    """Read the trades of ``pair``; of files without a trade near ``days``, only the footers are read, and trusted.

    ``pool`` formats text while this thread reads and hashes. ``done`` is called with the bytes of files as they are
    processed. Raises StorageError only if the files keep changing faster than they can be listed.
    """
    found = _PairFindings(pair, pool, days, done)
    try:
        found.findings += [Finding(path, "lies in no year of its pair", remedy(path)) for path in _strays(layout, pair)]
        years = layout.years(pair)
    except SET_APART as error:
        found.findings.append(Finding.of(error))
        years = []
    for year in years:
        found.read_year(year)
    return found.content()


def size(layout: Layout, pair: str) -> int:
    """Return the approximate bytes of the files of ``pair``: the total that ``done`` is called with."""
    with contextlib.suppress(*SET_APART):
        return sum(size_of(year) for year in layout.years(pair))
    return 0


@contextlib.contextmanager
def readable_files(
    year: Path, pair: str, *, but: Container[str] = ()
) -> Iterator[tuple[list[OpenFile], list[Finding]]]:
    """Open the files of one year of ``pair`` together, except those named in ``but``, and read all of their rows.

    Yields the sound files and the findings about the others. Raises UnknownVersion; StorageError if the files keep
    changing faster than they can be listed.
    """
    with contextlib.ExitStack() as stack:
        files, findings = _opened(year, pair, stack, but=but)
        yield [file for file in files if _is_sound(file, findings)], findings


def _strays(layout: Layout, pair: str) -> list[Path]:
    """Return Parquet files that readers may find where none belongs; the pair may have no folder yet."""
    folder, years = layout.pair_dir(pair), set(layout.years(pair))
    entries = (folder / name for name in names_in(folder))
    return sorted(path for entry in entries if entry not in years for path in parquet_in(entry))


def _opened(
    year: Path, pair: str, stack: contextlib.ExitStack, *, rows: bool = True, but: Container[str] = ()
) -> tuple[list[OpenFile], list[Finding]]:
    return integrity.opened(year, Branch(TRADES, pair), stack, words=_WORDS, rows=rows, but=but)


def _is_sound(file: OpenFile, findings: list[Finding], done: Callable[[int], None] = lambda _: None) -> bool:
    """Read all rows of a file and return whether it is sound; if not, add the fault to ``findings``."""
    try:
        for _ in _rows(file, _BATCH, done):
            pass
    except SET_APART as error:
        findings.append(Finding.of(error))
        return False
    return True


def _side_by_side(chosen: Iterable[OpenFile]) -> int:
    """Return the largest number of files whose ids overlap: that many are read at the same time."""
    runs = [file.footer.runs for file in chosen]
    edges = [edge for one in runs for edge in ((one[0].span.first, 1), (one[-1].span.last + 1, -1))]
    return max(accumulate(step for _, step in sorted(edges)), default=0)


def _rows(file: OpenFile, size: int, done: Callable[[int], None]) -> Iterator[pa.Table]:
    """Yield the rows of a file, checked against its footer and its place. Raises UnsoundFile, UnreadableFile."""
    runs: list[Run] = []
    imported = Spans()
    reported = 0
    path, footer, bytes_of = file.path, file.footer, file.facts.size
    branch = Branch(TRADES, footer.pair)
    for group in file.groups:
        claims = FooterClaims(file, group)
        for stored in file.read(size, groups=[group], use_threads=False):  # the other core formats text
            with integrity.checking(path):
                rows = stored.select(_NEEDED)
                for run in held_runs(rows, footer.pair or ""):
                    _continue(runs, run, path)
                integrity.check_period(rows, branch, path.parent, path)
                claims.add(stored)
                imported.update(one.span for one in imported_ids(stored))
            share = bytes_of * rows.num_rows // file.rows
            reported += share
            done(share)
            yield rows
        claims.check()
    if tuple(runs) != footer.runs:
        raise UnsoundFile(path, _differs(runs, footer.runs), remedy(path))
    if imported != imported_spans([footer]):
        raise UnsoundFile(path, "names other ids than its rows as those from history files", remedy(path))
    done(bytes_of - reported)


def _continue(runs: list[Run], run: Run, path: Path) -> None:
    """Add the next run of a file. Raises UnsoundFile if its ids do not ascend."""
    before = runs[-1].span if runs else None
    if before is not None and run.span.first <= before.last:
        problem = f"has id {run.span.first} after {before.last}: its ids do not go up, each once"
        raise UnsoundFile(path, problem, remedy(path))
    runs[-1:] = joined([*runs[-1:], run])


def _differs(found: Sequence[Run], claimed: Sequence[Run]) -> str:
    """Return a description of the first difference between the rows and the footer."""
    pairs = zip_longest(found, claimed)
    rows, footer = next((one, other) for one, other in pairs if one != other)
    return f"holds {_named(rows)} where its footer claims {_named(footer)}"


def _named(run: Run | None) -> str:
    if run is None:
        return "nothing"
    return f"ids {run.span.first} to {run.span.last} of {_text(run.first_us)} to {_text(run.last_us)}"


def _text(time_us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class _PairFindings:
    """The findings and rows of a pair, collected year by year."""

    def __init__(self, pair: str, pool: Executor, days: Days, done: Callable[[int], None]) -> None:
        self.findings: list[Finding] = []
        self._pair = pair
        self._pool = pool
        self._days = days
        self._done = done
        self._held: list[tuple[Run, Path]] = []
        self._rows: dict[date, DayRows] = {}
        self._promises: set[Promise | None] = set()
        self._back: set[StepBack] = set()

    def read_year(self, year: Path) -> None:
        """Read the files of one year. If a file turns out to be unsound, start over without it."""
        with contextlib.ExitStack() as stack:
            files, findings = _opened(year, self._pair, stack, rows=self._days.touch_beside(str(period_of(year))))
            self.findings += findings
            chosen = []
            for file in files:
                if self._days.touch(file.footer.runs):
                    chosen.append(file)
                else:
                    self._hold(file)
                    self._done(file.facts.size)
            try:
                self._merge(chosen, self._done)
            except SET_APART:
                self._merge([file for file in chosen if _is_sound(file, self.findings, self._done)], lambda _: None)

    def _hold(self, file: OpenFile) -> None:
        self._promises.add(file.footer.promise)
        self._held += ((run, file.path) for run in file.footer.runs)

    def _merge(self, chosen: Sequence[OpenFile], done: Callable[[int], None]) -> None:
        book = DayBook(self._pool)
        size = max(1, min(_BATCH, _ROWS_IN_HAND // max(1, _side_by_side(chosen))))
        ordered = in_order(((file.facts.first_id, partial(_rows, file, size, done)) for file in chosen), TRADES.order)
        for rows in ordered:
            book.enter(rows)
        self._rows |= {day: rows for day, rows in book.days().items() if day in self._days}
        self._back.update(book.steps_back)
        for file in chosen:
            self._hold(file)

    def content(self) -> Content:
        """Return the collected content."""
        self._held.sort()
        self.findings += duplicate_files.same_ids(self._held)
        for (below, _), (above, _) in pairwise(self._held):  # in different years, or with missing ids between them
            if above.first_us < below.last_us - BACK_US and above.span.first > below.span.last:
                self._back.add(StepBack(above.span.first, below.last_us, above.first_us))
        runs, back = tuple(joined(run for run, _ in self._held)), tuple(sorted(self._back)[:STEPS_BACK])
        promise = evidence.earliest(*self._promises)
        return Content(self._pair, runs, self._rows, tuple(self.findings), promise, back)


@dataclass(slots=True)
class _Day:
    """A day that may receive more rows."""

    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)


class DayBook:
    """Counts and hashes rows, given in ascending id, per day. ``pool`` formats their text."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._last_id = -1
        self._last_us: int | None = None
        self.steps_back: list[StepBack] = []
        self._days: dict[int, _Day] = {}
        self._ahead: deque[tuple[list[int], Future[list[bytes]]]] = deque()

    def enter(self, rows: pa.Table) -> None:
        """Add rows; of rows with the same id, the first counts."""
        ids = rows["trade_id"].to_numpy()
        fresh = np.diff(ids, prepend=self._last_id) > 0
        if not fresh.all():
            rows, ids = rows.filter(pa.array(fresh)), ids[fresh]
        if not rows.num_rows:
            return
        self._last_id = int(ids[-1])
        times_us = rows["time"].cast(pa.int64()).to_numpy()
        self._look_back(ids, times_us)
        numbers = times_us // DAY_US
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
        ends = np.append(starts[1:], len(ids))
        columns = (
            numbers[starts],
            ends - starts,
            ids[starts],
            ids[ends - 1],
            np.minimum.reduceat(times_us, starts),
            np.maximum.reduceat(times_us, starts),
        )
        for number, *part in zip(*(column.tolist() for column in columns), strict=True):
            self._count(number, _Day(*part))
        self._ahead.append((columns[0].tolist(), self._pool.submit(digest_text, rows, starts[1:].tolist())))
        while len(self._ahead) > _AHEAD:
            self._hash()

    def _look_back(self, ids: np.ndarray[Any, Any], times_us: np.ndarray[Any, Any]) -> None:
        first_us = int(times_us[0]) if self._last_us is None else self._last_us
        back = np.flatnonzero(np.diff(times_us, prepend=first_us) < -BACK_US)
        for at in back[: STEPS_BACK - len(self.steps_back)].tolist():
            below_us = int(times_us[at - 1]) if at else first_us
            self.steps_back.append(StepBack(int(ids[at]), below_us, int(times_us[at])))
        self._last_us = int(times_us[-1])

    def _count(self, number: int, part: _Day) -> None:
        day = self._days.setdefault(number, part)
        if day is not part:
            day.rows += part.rows
            day.last_id = part.last_id
            day.first_us = min(day.first_us, part.first_us)
            day.last_us = max(day.last_us, part.last_us)

    def _hash(self) -> None:
        numbers, texts = self._ahead.popleft()
        for number, text in zip(numbers, texts.result(), strict=True):
            self._days[number].sha256.update(text)

    def days(self) -> dict[date, DayRows]:
        """Return the days, after all rows have been added."""
        while self._ahead:
            self._hash()
        return {
            _EPOCH + timedelta(days=number): DayRows(
                day.rows, day.first_id, day.last_id, day.first_us, day.last_us, day.sha256.hexdigest()
            )
            for number, day in self._days.items()
        }
