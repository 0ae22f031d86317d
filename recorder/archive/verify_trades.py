"""Read every stored trade of a pair and say what is really there: its ids, its days, and whatever is wrong.

Owns: what makes a file sound. Trusts nothing that a file says of itself: its footer, its place and its checksums are
held against its rows. A file that is not sound proves nothing, so its rows do not count, and what is wrong with it is
a finding; the others are read all the same. Takes no lock: files never change, and those of a year are opened
together, before the first row is read, so that a compaction meanwhile takes nothing away.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from recorder.archive.footer import held_runs
from recorder.archive.footer_claims import FooterClaims
from recorder.archive.integrity import ALL_DAYS, Days, Finding, parquet_in
from recorder.archive.layout import Layout, period_of, size_of
from recorder.archive.ordered_merge import in_order
from recorder.archive.parquet import SET_APART, OpenFile
from recorder.core import evidence
from recorder.core.certificate import DAY_US, DayRows
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, joined
from recorder.disk import names_in
from recorder.errors import UnsoundFile

_BATCH: Final = 32_768
"""Rows in hand of each file at most: files of one year that overlap are read side by side."""
_ROWS_IN_HAND: Final = 1_048_576
"""Rows in hand of all of them together, some 70 MB."""
_WORDS: Final = ("side", "ord_type", "misc", "source")
"""Columns of few words, which cost a third of all reading if each row gets its own."""
_NEEDED: Final = ["trade_id", "time", "price", "qty", "side"]
"""Columns that are looked at; the others are read for their checksums."""
_AHEAD: Final = 4
"""Batches that wait to be hashed, so that both cores have work and memory stays bounded."""
BACK_US: Final = 10_000_000
"""Trades are numbered as they are made, and stamps step back by fractions of a second: so much is no such step."""
STEPS_BACK: Final = 1_000
"""So many are kept of a pair: more come of a cause, not of chance."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class StepBack:
    """The trade with this id was made by more than :data:`BACK_US` before the one below it: µs since 1970 UTC."""

    trade_id: int
    below_us: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Content:
    """What the files of a pair really hold: its runs of ids, what they hold of each day, and what is wrong.

    ``promise`` is what they say was promised of it; ``steps_back``, some at most, are where the exchange itself would
    have counted against the clock.
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
    """Read the trades of ``pair``; of files without a trade near ``days`` only the footers, which are believed.

    ``pool`` sets text while this thread reads and hashes. ``done`` is told the bytes of files as they are dealt with.
    Raises StorageError only if the files keep changing faster than they can be listed.
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
    """Return the bytes of the files of ``pair``, about: what ``done`` is told in all."""
    with contextlib.suppress(*SET_APART):
        return sum(size_of(year) for year in layout.years(pair))
    return 0


@contextlib.contextmanager
def readable_files(year: Path, pair: str) -> Iterator[tuple[list[OpenFile], list[Finding]]]:
    """Open the files of one year of ``pair`` together, and read them all through.

    Gives those that are sound, and what is wrong with the others. Raises UnknownVersion; StorageError if the files keep
    changing faster than they can be listed.
    """
    with contextlib.ExitStack() as stack:
        files, findings = _opened(year, pair, stack)
        yield [file for file in files if _sound(file, findings)], findings


def _strays(layout: Layout, pair: str) -> list[Path]:
    """Return Parquet files that readers may meet, and that lie where none belongs; a pair may have no folder yet."""
    folder, years = layout.pair_dir(pair), set(layout.years(pair))
    entries = (folder / name for name in names_in(folder))
    return sorted(path for entry in entries if entry not in years for path in parquet_in(entry))


def _opened(
    year: Path, pair: str, stack: contextlib.ExitStack, *, rows: bool = True
) -> tuple[list[OpenFile], list[Finding]]:
    return integrity.opened(year, Branch(TRADES, pair), stack, words=_WORDS, rows=rows)


def _sound(file: OpenFile, findings: list[Finding], done: Callable[[int], None] = lambda _: None) -> bool:
    """Read a file through; where it is not sound, add what is wrong to ``findings``."""
    try:
        for _ in _rows(file, _BATCH, done):
            pass
    except SET_APART as error:
        findings.append(Finding.of(error))
        return False
    return True


def _side_by_side(chosen: Iterable[OpenFile]) -> int:
    """Return of how many files at most the ids overlap: so many are read at the same time."""
    runs = [file.footer.runs for file in chosen]
    edges = [edge for one in runs for edge in ((one[0].span.first, 1), (one[-1].span.last + 1, -1))]
    return max(accumulate(step for _, step in sorted(edges)), default=0)


def _rows(file: OpenFile, size: int, done: Callable[[int], None]) -> Iterator[pa.Table]:
    """Yield the rows of a file, held against its footer and its place. Raises UnsoundFile, UnreadableFile."""
    runs: list[Run] = []
    told = 0
    path, footer, bytes_of = file.path, file.footer, file.facts.size
    branch = Branch(TRADES, footer.pair)
    for group in file.groups:
        claims = FooterClaims(file, group)
        for stored in file.read(size, groups=[group], use_threads=False):  # the other core sets text
            with integrity.checking(path):
                rows = stored.select(_NEEDED)
                for run in held_runs(rows, footer.pair or ""):
                    _continue(runs, run, path)
                integrity.check_period(rows, branch, path.parent, path)
                claims.add(stored)
            share = bytes_of * rows.num_rows // file.rows
            told += share
            done(share)
            yield rows
        claims.check()
    if tuple(runs) != footer.runs:
        raise UnsoundFile(path, _differs(runs, footer.runs), remedy(path))
    done(bytes_of - told)


def _continue(runs: list[Run], run: Run, path: Path) -> None:
    """Add the next run of a file; the ids of a file go up."""
    before = runs[-1].span if runs else None
    if before is not None and run.span.first <= before.last:
        problem = f"has id {run.span.first} after {before.last}: its ids do not go up, each once"
        raise UnsoundFile(path, problem, remedy(path))
    runs[-1:] = joined([*runs[-1:], run])


def _differs(found: Sequence[Run], claimed: Sequence[Run]) -> str:
    """Say where content and footer part."""
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
    """What was found of a pair so far."""

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
        """Read one year's files. One that proves unsound on the way is left out, and the others begin anew."""
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
                self._merge([file for file in chosen if _sound(file, self.findings, self._done)], lambda _: None)

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
        """Return what was found."""
        self._held.sort()
        self.findings += duplicate_files.same_ids(self._held)
        for (below, _), (above, _) in pairwise(self._held):  # of other years, or with ids between that are not held
            if above.first_us < below.last_us - BACK_US and above.span.first > below.span.last:
                self._back.add(StepBack(above.span.first, below.last_us, above.first_us))
        runs, back = tuple(joined(run for run, _ in self._held)), tuple(sorted(self._back)[:STEPS_BACK])
        promise = evidence.earliest(*self._promises)
        return Content(self._pair, runs, self._rows, tuple(self.findings), promise, back)


@dataclass(slots=True)
class _Day:
    """A day of which rows are still to come."""

    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)


class DayBook:
    """Counts and hashes rows, which come in ascending id, day by day. ``pool`` sets their text."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._last_id = -1
        self._last_us: int | None = None
        self.steps_back: list[StepBack] = []
        self._days: dict[int, _Day] = {}
        self._ahead: deque[tuple[list[int], Future[list[bytes]]]] = deque()

    def enter(self, rows: pa.Table) -> None:
        """Take in rows; of those with the same id, the first."""
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
        """Return the days, once all rows are in."""
        while self._ahead:
            self._hash()
        return {
            _EPOCH + timedelta(days=number): DayRows(
                day.rows, day.first_id, day.last_id, day.first_us, day.last_us, day.sha256.hexdigest()
            )
            for number, day in self._days.items()
        }
