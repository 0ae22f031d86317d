"""Supervision of free disk space: first books wait, then history and quotes, and raw segments go; then recording ends.

Even a full disk loses nothing: what could not be written was never claimed. But then the journal cannot be drained
until space is freed.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, assert_never

import structlog
import zstandard

from recorder import disk as rim
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import journals
from recorder.archive.layout import Layout
from recorder.core.disk_limits import RELIEF, DiskGrowth, DiskLimits, disk_limits
from recorder.core.event_kinds import EventKind
from recorder.core.segment_names import journal_of
from recorder.core.trade_ids import Run, Spans
from recorder.disk import Disk, Room, undisturbed
from recorder.errors import CorruptLine, DiskError, Malformed, StorageError, UnlistedFolder, UnreadableFile, UnsoundFile
from recorder.journal import segment
from recorder.journal.journal import CORRUPT_SUFFIX, RAW_SUFFIX
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.records import (
    Header,
    ListingRecord,
    NotedFrame,
    PublishedCandles,
    TableRows,
    TradeRecord,
    UnknownRecord,
    UnreadableRecord,
)
from recorder.runtime.context import Context

LOOK_S: Final = 5.0
"""Interval of checks, which take microseconds: at 50 MB a second, 256 MB last this long."""
AGAIN_S: Final = 600.0
"""A raw segment that could not be proven to be archived is not read again before this time, in seconds."""
_DAY_S: Final = 86_400.0
_CHUNK: Final = 1 << 20

log = structlog.get_logger()


class DiskSpaceWatch:
    """Checks the disk of ``layout`` every LOOK_S seconds.

    ``spare`` is called when what can wait must, and when it may continue; ``full`` is called once, to end
    recording in order: after it, :meth:`check` raises. ``raw`` is held while raw segments are removed. ``room``
    measures the disk; it blocks.
    """

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        context: Context,
        *,
        spare: Callable[[bool], None],
        full: Callable[[], None],
        raw: threading.Lock,
        spare_books: Callable[[bool], None] = lambda _: None,
        room: Callable[[Path], Room] = rim.room,
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._notes = context.notes
        self._clock = context.clock
        self._spare = spare
        self._spare_books = spare_books
        self._books_wait = False
        self._full = full
        self._raw = raw
        self._room = room
        self._growth = DiskGrowth()
        self._archived = ArchivedCheck(layout, disk)
        self._unproven: dict[Path, float] = {}
        self._problem: DiskError | None = None
        self.low = False
        """Whether free space is low."""
        self.room: Room | None = None
        """Result of the last check; None before the first."""
        self.low_bytes = 0
        """Free space below this is low, in bytes; 0 before the first check."""

    async def run(self) -> None:
        """Check until cancelled. Raises DiskError if the disk does not answer."""
        while self._problem is None:
            await self._look()
            await self._clock.sleep(LOOK_S)

    @property
    def runway_s(self) -> float:
        """Return the seconds until the disk is full at the rate of the last day; infinite if it never is."""
        per_day = self._growth.per_day
        return self.room.free / per_day * _DAY_S if self.room and per_day else math.inf

    def check(self) -> None:
        """Raise DiskError if recording had to end because the disk is full."""
        if self._problem is not None:
            raise self._problem

    async def _look(self) -> None:
        found = await asyncio.to_thread(self._room, self._layout.data)
        self._growth.observe(self._clock.monotonic(), found.free)
        limits = disk_limits(found.total, self._growth.per_day)
        self.room, self.low_bytes = found, limits.low
        self._look_at_books(found, limits)
        if found.free < limits.low:
            await self._begin(found, limits)
            found = await asyncio.to_thread(self._make_room, limits.low)
        elif self.low and found.free >= limits.relief:
            log.info("the disk has room again", free=_text(found.free))
            self._report(low=False)
        if found.free < limits.stop:
            self._problem = DiskError(
                f"the disk of {self._layout.data} has {_text(found.free)} left, and recording ends at "
                f"{_text(limits.stop)}: make room and start again; what was recorded is safe"
            )
            log.error("stopping: the disk is full", free=_text(found.free))
            self._full()

    def _look_at_books(self, found: Room, limits: DiskLimits) -> None:
        if not self._books_wait and found.free < limits.books:
            log.warning("the disk is nearly low: books wait", free=_text(found.free), wanted=_text(limits.books))
            self._books_wait = True
        elif self._books_wait and found.free >= limits.books * RELIEF:
            self._books_wait = False
        self._spare_books(self._books_wait)

    async def _begin(self, found: Room, limits: DiskLimits) -> None:
        if self.low:
            return
        log.warning(
            "the disk is low: backfill and quotes are paused, the oldest raw segments are removed",
            free=_text(found.free),
            wanted=_text(limits.low),
            ends_at=_text(limits.stop),
        )
        self._report(low=True)
        await self._notes.event(EventKind.DISK_LOW, free=found.free, low=limits.low, stop=limits.stop)

    def _report(self, *, low: bool) -> None:
        self.low = low
        self._spare(low)
        self._archived = ArchivedCheck(self._layout, self._disk)  # a new one, to release what was remembered

    def _make_room(self, wanted: int) -> Room:
        """Remove raw segments, oldest first, until ``wanted`` bytes are free, but none not proven to be archived."""
        for path in self._raw_segments():
            if (found := self._room(self._layout.data)).free >= wanted:
                return found
            now_s = self._clock.monotonic()
            if self._unproven.get(path, now_s) > now_s:
                continue
            try:
                reason = self._archived.lacks(path)
            except FileNotFoundError:  # it expired in the meantime
                continue
            if reason is not None:
                log.warning("raw segment kept", segment=path.name, reason=reason)
                self._unproven[path] = now_s + AGAIN_S
                continue
            with self._raw:
                if path.exists():
                    self._disk.unlink(path)
            log.warning("raw segment removed before its time: the disk is low", segment=path.name)
        return self._room(self._layout.data)

    def _raw_segments(self) -> list[Path]:
        """Return the raw segments, oldest first, those of the main journal last; without folders that cannot be listed.

        For these there is an error in the log.
        """
        found: list[Path] = []
        for raw in map(self._layout.raw_dir, reversed(journals())):
            try:
                found += (raw / name for name in rim.names_in(raw) if name.endswith(RAW_SUFFIX))
            except (UnlistedFolder, UnsoundFile) as error:
                log.error("raw segments cannot be removed to make room", reason=str(error))
        return found


class ArchivedCheck:
    """Checks whether all rows of a raw segment are archived. Footers are read once, and remembered."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._coverage = Coverage(layout, disk)

    def lacks(self, path: Path) -> str | None:
        """Return the reason why the raw segment ``path`` may contain data stored nowhere else; None if all is archived.

        All is archived if the drain has retired the segment, its copy is whole, each of its lines is understood or set
        aside, and the archive covers the id of each of its trades now. Raises FileNotFoundError, DiskError.
        """
        number = segment.number_of(path)
        held: dict[str, Spans] = {}
        try:
            journal = self._layout.journal_dir(journal_of(path.parent.name))
            if segment.path_of(journal, number).exists():
                return "it is not drained yet"
            aside = path.with_name(f"{path.name.removesuffix(RAW_SUFFIX)}{CORRUPT_SUFFIX}").exists()
            for line in _lines(path):
                try:
                    entry = segment.decode(line)
                except CorruptLine as error:
                    if aside:
                        continue
                    return str(error)
                for run in _understood(entry):
                    if run.pair not in held:
                        held[run.pair] = self._held(run.pair)
                    if not held[run.pair].covers(run.span):
                        return f"the archive lacks some of the ids {run.span} of {run.pair}"
        except FileNotFoundError:
            raise
        except (zstandard.ZstdError, Malformed, StorageError, UnreadableFile, OSError) as error:
            return str(error)
        return None

    def _held(self, pair: str) -> Spans:
        return undisturbed(lambda: self._coverage.spans(pair), f"the files of {pair}")


def _understood(entry: Entry) -> list[Run]:
    """Return the runs of ids in a line. Raises Malformed, StorageError for a line whose content is unknown."""
    match records.read(entry):
        case TradeRecord() as trades:
            return trades.runs()
        case PublishedCandles() as answer:
            answer.candles()
        case ListingRecord() as listing:
            listing.listed()
        case TableRows() as carrying:
            carrying.parts()
        case Header() | NotedFrame():
            pass
        case UnreadableRecord() | UnknownRecord():
            raise StorageError(f"a line of {entry.source} stands nowhere else")
        case never:
            assert_never(never)
    return []


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a raw segment without line feeds. Raises ZstdError if it is truncated or corrupt."""
    reader = zstandard.ZstdDecompressor().decompressobj()
    rest_of_line = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            *whole, rest_of_line = (rest_of_line + reader.decompress(chunk)).split(b"\n")
            yield from whole
    if not reader.eof or rest_of_line:
        raise zstandard.ZstdError(f"{path} ends before its end")


def _text(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
