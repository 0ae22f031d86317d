"""Journal → archive: close the open segment, move what the closed ones hold, retire them.

Trades go as they are read: ids make them exact. The rows of tables without ids wait for the segment's end, because some
events are found by comparing with what is archived. They are written first. So where rows of the segment lie in another
of these tables its events are complete, and where none do the same events are found again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from recorder.archive.append import TradeArchive
from recorder.archive.events import EventArchive, event
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.ohlc import OhlcArchive
from recorder.clock import Clock
from recorder.core.model import Trade
from recorder.errors import CorruptLine, ExchangeError, Malformed, StorageError
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.segment import Entry
from recorder.kraken import parse, rest
from recorder.ops.metrics import Metrics
from recorder.tasks.commit import Commit
from recorder.tasks.waiting import first_of

BATCH_TRADES: Final = 100_000
"""Trades parsed before they are appended: bounds memory at some 100 MB whatever the segment's size."""

log = structlog.get_logger()


class Drainer:
    """Moves closed segments into the archive. Blocking; repeating any part of it after a crash adds nothing."""

    def __init__(
        self,
        journal: Journal,
        trades: TradeArchive,
        instruments: InstrumentArchive,
        *,
        candles: OhlcArchive,
        events: EventArchive,
        keep_raw: bool,
        metrics: Metrics,
    ) -> None:
        self._journal = journal
        self._trades = trades
        self._instruments = instruments
        self._candles = candles
        self._events = events
        self._keep_raw = keep_raw
        self.metrics = metrics
        metrics.journal_bytes.set_function(self._waiting)

    def drain(self, path: Path) -> int:
        """Archive one closed segment and retire it; return how many trades were new."""
        corrupt: list[CorruptLine] = []
        added = 0
        for table in (self._events, self._instruments, self._candles):
            table.begin()
        # Two cores: while one parses the next batch, the other compresses, encodes and syncs. Two batches in memory.
        with ThreadPoolExecutor(1, "raw") as compressor, ThreadPoolExecutor(1, "drain") as writer:
            preserving = compressor.submit(self._journal.preserve, path) if self._keep_raw else None
            writing: Future[int] | None = None
            for batch in self._batches(path, corrupt):
                added += writing.result() if writing else 0
                writing = writer.submit(self._append, batch)
            added += writing.result() if writing else 0
            self._write(segment.number_of(path))
            if preserving:
                preserving.result()
        if corrupt:
            self._journal.set_aside(path, [error.line for error in corrupt])
            log.error("corrupt journal lines set aside", segment=path.name, lines=len(corrupt), first=str(corrupt[0]))
        self._journal.retire(path, keep=False)  # the raw copy, if wanted, is made
        self.metrics.rows_archived.inc(added)
        return added

    def _waiting(self) -> int:
        """Return the bytes in the journal."""
        size = self._journal.size
        for path in self._journal.closed():
            with contextlib.suppress(FileNotFoundError):  # retired meanwhile
                size += path.stat().st_size
        return size

    def _write(self, number: int) -> None:
        """Add the segment's rows of the tables without ids, events first: see above."""
        if not (self._candles.holds(number) or self._instruments.holds(number)):
            self._events.write(number)
        self._instruments.write(number)
        self._candles.write(number)

    def _append(self, batch: Mapping[str, Sequence[Trade]]) -> int:
        return sum(self._trades.append(pair, rows).count() for pair, rows in batch.items())

    def _batches(self, path: Path, corrupt: list[CorruptLine]) -> Iterator[dict[str, list[Trade]]]:
        """Yield the segment's trades by pair, in batches; take what belongs in other tables on the way."""
        by_pair: dict[str, list[Trade]] = {}
        waiting = received_ns = 0
        for entry in segment.entries(path):
            if isinstance(entry, CorruptLine):
                corrupt.append(entry)
                self._malformed(received_ns, "journal", str(entry))  # after the last line that tells its time
                continue
            received_ns = entry.recv_ns
            rows = self._read(entry, segment.number_of(path))
            for row in rows:
                by_pair.setdefault(row.pair, []).append(row)
            waiting += len(rows)
            if waiting >= BATCH_TRADES:
                yield by_pair
                by_pair, waiting = {}, 0
        yield by_pair

    def _read(self, entry: Entry, number: int) -> list[Trade]:
        """Return the trades in a line, having taken what else it brings."""
        try:
            if trades := parse.journalled_trades(entry.source, entry.payload, entry.recv_ns):
                return trades
            self._take(entry, number)
        except (Malformed, ExchangeError) as error:
            # It was read when it came, so this is a parser of another release; the line stays in raw/.
            log.error("journal line not understood", segment=number, source=entry.source, reason=str(error))
            self._malformed(entry.recv_ns, entry.source, str(error))
        except StorageError as error:
            # A damaged file of listings must not keep trades from being archived; the line stays in raw/.
            log.error("listing not archived", segment=number, reason=str(error))
        return []

    def _take(self, entry: Entry, number: int) -> None:
        received_us = entry.recv_ns // 1000
        if entry.source.startswith(parse.LISTING_SOURCE):
            listing = parse.instruments(rest.result(200, entry.payload))
            changed = self._instruments.take(received_us, listing)
            self._events.take(*changed.events)
            if changed.disbelief is not None:
                log.error("absent pairs are kept as listed", segment=number, reason=changed.disbelief)
                self._malformed(entry.recv_ns, entry.source, changed.disbelief)
        elif entry.source.startswith(parse.OHLC_SOURCE):
            taken = self._candles.take(parse.journalled_candles(entry.source, entry.payload), received_us)
            self._events.take(*taken.events)
            if taken.unreadable is not None:
                log.error("candles archived without comparison", segment=number, reason=str(taken.unreadable))
        elif (noted := parse.journalled_event(entry.source, entry.payload, entry.recv_ns)) is not None:
            self._events.take(noted)

    def _malformed(self, received_ns: int, source: str, reason: str) -> None:
        self._events.take(event(received_ns // 1000, "malformed", source=source, reason=reason))


class Drain:
    """Drains every ``every_s`` seconds, sooner when many trades wait."""

    def __init__(self, drainer: Drainer, journal: Journal, commit: Commit, *, every_s: float, clock: Clock) -> None:
        self._drainer = drainer
        self._journal = journal
        self._commit = commit
        self._every_s = every_s
        self._clock = clock
        self._stopping = asyncio.Event()
        self._drained_s = clock.monotonic()

    async def run(self) -> None:
        """Drain what an earlier run left, then on time, until :meth:`stop`."""
        while True:
            last = self._stopping.is_set()  # asked before this drain began, so that it takes all there is
            await self.everything()
            if last:
                return
            await self._due()

    @property
    def every_s(self) -> float:
        """Seconds from one drain to the next."""
        return self._every_s

    def drained_s(self) -> float:
        """Return for how many seconds no drain has ended; from the beginning, before the first."""
        return self._clock.monotonic() - self._drained_s

    def stop(self) -> None:
        """Make :meth:`run` drain once more and return."""
        self._stopping.set()

    async def everything(self) -> None:
        """Drain all that is journalled now."""
        started_s = self._clock.monotonic()
        await self._commit.rotate()
        await self.closed()
        self._drained_s = self._clock.monotonic()
        self._drainer.metrics.drained(self._drained_s - started_s, self._clock.wall_ns())

    async def closed(self) -> None:
        """Drain all closed segments, oldest first."""
        for path in self._journal.closed():
            await asyncio.to_thread(self._drainer.drain, path)

    async def _due(self) -> None:
        await first_of(self._clock.sleep(self._every_s), self._commit.drain_due.wait(), self._stopping.wait())
