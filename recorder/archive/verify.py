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
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recorder.archive import files, tables
from recorder.archive.canonical import canonical
from recorder.archive.files import Layout, on_one_line
from recorder.archive.merge import in_order
from recorder.archive.read import batches, columns_of
from recorder.archive.schema import TRADES, Footer, held_runs
from recorder.core.certificate import DAY_US, DayRows
from recorder.core.ids import Run, Span, joined
from recorder.errors import CorruptFile

MOVE_OUT: Final = tables.TRADES.remedy
NO_FOOTER: Final = "is none of ours: it carries no footer of this archive"
MOVE_ONE_OUT: Final = "move one of the two out of the archive"
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
OTHER_COLUMNS: Final = "has other columns than the table of {}"
DAMAGE: Final = (pa.ArrowException, OSError, ValueError)
"""pyarrow's words for damage; ValueError is that of names in a footer that are no text."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file, and what to do."""

    file: Path
    problem: str
    remedy: str = MOVE_OUT


@dataclass(frozen=True, slots=True)
class Content:
    """What the files of a pair really hold: its runs of ids, what they hold of each day, and what is wrong."""

    pair: str
    runs: tuple[Run, ...]
    days: Mapping[date, DayRows]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Days:
    """A range of UTC days, both included; None: open end."""

    first: date | None = None
    last: date | None = None

    def __contains__(self, day: date) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    def has_year(self, year: int) -> bool:
        """Tell whether a day of this year is in the range."""
        return (self.first is None or year >= self.first.year) and (self.last is None or year <= self.last.year)

    def touch(self, runs: Iterable[Run]) -> bool:
        """Tell whether a trade of these runs may have been made in the range, or on the days beside it."""
        times_us = [time_us for run in runs for time_us in (run.first_us, run.last_us)]
        low, high = _midnight_us(self.first, -1), _midnight_us(self.last, 2)
        return (high is None or min(times_us) < high) and (low is None or max(times_us) >= low)


def _midnight_us(day: date | None, later: int) -> int | None:
    return None if day is None else ((day - _EPOCH).days + later) * DAY_US


ALL_DAYS: Final = Days()


def read(
    layout: Layout, pair: str, pool: Executor, *, days: Days = ALL_DAYS, done: Callable[[int], None] = lambda _: None
) -> Content:
    """Read the trades of ``pair``; of files without a trade near ``days`` only the footers, which are believed.

    ``pool`` sets text while this thread reads and hashes. ``done`` is told the bytes of files as they are dealt with.
    Raises StorageError only if the files keep changing faster than they can be listed.
    """
    found = _Found(pair, pool, days, done)
    found.findings += [Finding(path, "lies in no year of its pair") for path in _strays(layout, pair)]
    for year in layout.years(pair):
        with contextlib.ExitStack() as stack:
            found.read_year(year, _open_all(year, stack))
    return found.content()


def size(layout: Layout, pair: str) -> int:
    """Return the bytes of the files of ``pair``, about: what ``done`` is told in all."""
    total = 0
    for year in layout.years(pair):
        with contextlib.suppress(FileNotFoundError):
            total += sum((year / name).stat().st_size for name in files.listed(year))
    return total


@contextlib.contextmanager
def sound_files(year: Path, pair: str) -> Iterator[tuple[list[SoundFile], list[Finding]]]:
    """Open the files of one year of ``pair`` together, and read them all through.

    Gives those that are sound, and what is wrong with the others. Raises UnknownVersion; StorageError if the files keep
    changing faster than they can be listed.
    """
    number = int(year.name.removeprefix("year="))
    sound: list[SoundFile] = []
    findings: list[Finding] = []
    with contextlib.ExitStack() as stack:
        for opened in _open_all(year, stack):
            if isinstance(opened, Finding):
                findings.append(opened)
                continue
            try:
                file = _fits(opened, pair)
                for _ in _rows(file, number, _BATCH, lambda _: None):
                    pass
            except _Unsound as unsound:
                findings.append(unsound.finding)
            else:
                sound.append(file)
        yield sound, findings


def _strays(layout: Layout, pair: str) -> list[Path]:
    """Return Parquet files that readers may meet, and that lie where none belongs."""
    folder, years = layout.pair_dir(pair), set(layout.years(pair))
    return sorted(path for entry in folder.iterdir() if entry not in years for path in parquet_in(entry))


def parquet_in(entry: Path) -> list[Path]:
    """Return the Parquet files at a path and below it."""
    return [path for path in (entry, *entry.rglob("*")) if path.suffix == files.SUFFIX and path.is_file()]


class _Unsound(Exception):
    """A file does not hold what it should."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.problem)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that is open, whatever becomes of its name."""

    path: Path
    size: int
    parquet: pq.ParquetFile


@dataclass(frozen=True, slots=True)
class SoundFile(_Opened):
    """One that says of itself what fits its place, and, once it was read through, what is in it."""

    footer: Footer

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of ids that it claims to hold."""
        return self.footer.runs


def _open_all(year: Path, stack: contextlib.ExitStack) -> list[_Opened | Finding]:
    """Open all files of a year before one is read, so that a compaction takes nothing away."""

    def attempt() -> list[_Opened | Finding]:
        with contextlib.ExitStack() as opened:
            found = [_open(year / name, opened) for name in files.listed(year)]
            stack.push(opened.pop_all())
            return found

    return files.undisturbed(attempt, f"the files in {year}")


def _open(path: Path, stack: contextlib.ExitStack) -> _Opened | Finding:
    try:
        try:
            parquet = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=_WORDS, pre_buffer=False)
        except KeyError:  # pyarrow's word for a column that is not there: perhaps not yet, in this version
            parquet = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
        return _Opened(path, path.stat().st_size, stack.enter_context(parquet))
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        return Finding(path, damage(error))


def damage(error: Exception) -> str:
    """Return what an error of pyarrow, or of the system, says of a file."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {error.strerror}"
    return f"is damaged: {on_one_line(error)}"


def _fits(opened: _Opened, pair: str) -> SoundFile:
    """Return the file if what it says of itself fits its place. Raises _Unsound, UnknownVersion."""
    path, metadata = opened.path, opened.parquet.metadata
    try:
        footer = Footer.decode(metadata.metadata, str(path))
    except CorruptFile as error:
        raise _Unsound(Finding(path, NO_FOOTER)) from error
    if footer.table != "trades" or footer.pair != pair:
        problem = f"says it holds {footer.table} of {footer.pair}, and lies among trades of {pair}"
        raise _Unsound(Finding(path, problem, "move it back to where it belongs, or out of the archive"))
    if not columns(opened.parquet, footer).equals(TRADES):
        raise _Unsound(Finding(path, OTHER_COLUMNS.format("trades")))
    claimed = sum(len(run.span) for run in footer.runs)
    if claimed != metadata.num_rows or not claimed:
        raise _Unsound(Finding(path, f"holds {metadata.num_rows} rows, but its footer claims {claimed} ids"))
    return SoundFile(path, opened.size, opened.parquet, footer)


def columns(parquet: pq.ParquetFile, footer: Footer) -> pa.Schema:
    """Return the columns of a file as today's version has them; words are read as dictionaries, and are none."""
    try:
        found = columns_of(parquet, footer)
    except (KeyError, pa.ArrowException):  # not even what an older version had
        return pa.schema([])
    words = (field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in found)
    return pa.schema(words)


def _side_by_side(chosen: Iterable[SoundFile]) -> int:
    """Return of how many files at most the ids overlap: so many are read at the same time."""
    edges = [edge for file in chosen for edge in ((file.runs[0].span.first, 1), (file.runs[-1].span.last + 1, -1))]
    return max(accumulate(step for _, step in sorted(edges)), default=0)


def _rows(file: SoundFile, year: int, size: int, done: Callable[[int], None]) -> Iterator[pa.Table]:
    """Yield the rows of a file, held against its footer and its place. Raises _Unsound."""
    runs: list[Run] = []
    told = 0
    try:
        for stored in batches(file.parquet, file.footer, size, use_threads=False):  # the other core sets text
            rows = stored.select(_NEEDED)
            for run in held_runs(rows, file.footer.pair or ""):
                _continue(runs, run, file)
            _check_year(rows, year, file)
            share = file.size * rows.num_rows // file.parquet.metadata.num_rows
            told += share
            done(share)
            yield rows
    except DAMAGE as error:
        raise _Unsound(Finding(file.path, damage(error))) from error
    if tuple(runs) != file.runs:
        raise _Unsound(Finding(file.path, _differs(runs, file.runs)))
    done(file.size - told)


def _continue(runs: list[Run], run: Run, file: SoundFile) -> None:
    """Add the next run of a file; the ids of a file go up."""
    before = runs[-1].span if runs else None
    if before is not None and run.span.first <= before.last:
        problem = f"has id {run.span.first} after {before.last}: its ids do not go up, each once"
        raise _Unsound(Finding(file.path, problem))
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
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"


def _check_year(rows: pa.Table, year: int, file: SoundFile) -> None:
    limits = pc.min_max(rows["time"]).as_py()
    for time in limits.values():
        if time.year != year:
            raise _Unsound(Finding(file.path, f"holds a trade of {time.year}, and lies in year={year}"))


class _Found:
    """What was found of a pair so far."""

    def __init__(self, pair: str, pool: Executor, days: Days, done: Callable[[int], None]) -> None:
        self.findings: list[Finding] = []
        self._pair = pair
        self._pool = pool
        self._days = days
        self._done = done
        self._held: list[tuple[Run, Path]] = []
        self._rows: dict[date, DayRows] = {}

    def read_year(self, year: Path, opened: Iterable[_Opened | Finding]) -> None:
        """Read one year's files. One that proves unsound on the way is left out, and the others begin anew."""
        claimed = []
        for file in opened:
            if isinstance(file, Finding):
                self.findings.append(file)
                continue
            try:
                claimed.append(_fits(file, self._pair))
            except _Unsound as unsound:
                self.findings.append(unsound.finding)
                self._done(file.size)
        number = int(year.name.removeprefix("year="))
        chosen = []
        for fitting in claimed:
            if self._days.touch(fitting.runs):
                chosen.append(fitting)
            else:
                self._hold(fitting)
                self._done(fitting.size)
        try:
            self._merge(chosen, number, self._done)
        except _Unsound:
            sound = [file for file in chosen if self._sound(file, number)]
            self._merge(sound, number, lambda _: None)

    def _sound(self, file: SoundFile, year: int) -> bool:
        try:
            for _ in _rows(file, year, _BATCH, self._done):
                pass
        except _Unsound as unsound:
            self.findings.append(unsound.finding)
            return False
        return True

    def _hold(self, file: SoundFile) -> None:
        self._held += ((run, file.path) for run in file.runs)

    def _merge(self, chosen: Sequence[SoundFile], year: int, done: Callable[[int], None]) -> None:
        book = _DayBook(self._pool)
        size = max(1, min(_BATCH, _ROWS_IN_HAND // max(1, _side_by_side(chosen))))
        for rows in in_order((file.runs[0].span.first, partial(_rows, file, year, size, done)) for file in chosen):
            book.enter(rows)
        self._rows |= {day: rows for day, rows in book.days().items() if day in self._days}
        for file in chosen:
            self._hold(file)

    def content(self) -> Content:
        """Return what was found."""
        self._held.sort()
        reach: tuple[Run, Path] | None = None
        shared: dict[tuple[Path, Path], Span] = {}
        for run, path in self._held:
            if reach is not None and run.span.first <= reach[0].span.last:
                shared.setdefault((reach[1], path), run.span)
            if reach is None or run.span.last > reach[0].span.last:
                reach = run, path
        self.findings += [
            Finding(path, f"holds id {span.first} as {other} does", MOVE_ONE_OUT)
            for (other, path), span in shared.items()
        ]
        return Content(self._pair, tuple(joined(run for run, _ in self._held)), self._rows, tuple(self.findings))


@dataclass(slots=True)
class _Day:
    """A day of which rows are still to come."""

    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)


class _DayBook:
    """Counts and hashes rows, which come in ascending id, day by day."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._last_id = -1
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
        self._ahead.append((columns[0].tolist(), self._pool.submit(canonical, rows, starts[1:].tolist())))
        while len(self._ahead) > _AHEAD:
            self._hash()

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
