"""Group commit: all lines in the inbox are journalled with one write and one sync, and only then count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Run, joined
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.runtime.context import Context
from recorder.runtime.inbox import Inbound
from recorder.runtime.waiting import first_of, to_the_end

DRAIN_TRADES: Final = 200_000
"""Journalled trades that start a drain without waiting for the clock: a live reader parses the tail each time."""

DRAIN_ROWS_EACH: Final = 5_000
"""But only with at least this number of rows per pair that traded: a drain writes a file for each of them, and a
thousand pairs would get a thousand small files every few minutes."""

DRAIN_TRADES_AT_MOST: Final = 1_000_000
"""Upper limit whatever the number of pairs: 200 MB of journal, which a start after a crash parses in two seconds."""

ROTATE_BYTES: Final = 64 * 1024 * 1024
"""Size of all sources together at which a segment is closed, to wait for the drain. Each segment adds a file to each
table without ids, so it must not be smaller."""

ROTATE_HELD_BYTES: Final = ROTATE_BYTES // 4
"""Also size of lines that are not frames, candles above all: the drain holds their rows until the segment's end."""

_NEWS: Final = b'"type":"update"'
"""Distinguishes updates from the snapshot after a subscription, whose trades may be days old (API.md 8.2)."""


def enough(pairs: int) -> int:
    """Return the number of trades, of this number of pairs, that start a drain without waiting for the clock."""
    return max(DRAIN_TRADES, min(DRAIN_ROWS_EACH * pairs, DRAIN_TRADES_AT_MOST))


class Commit:
    """Moves lines from the inbox to the journal; sync, then claim.

    ``hole_seen`` is called when a pair has a hole after a claim, or its first trade, before which history may be
    wanted. ``parking`` decides which ids do not count yet. ``durable`` is called with the lines of each commit.
    ``writing`` guards the journal's open segment. ``sync_every_s`` may change while it runs. ``rotate_bytes`` is the
    size at which a segment is closed. ``heads`` returns the lines that a new segment begins with: what follows from all
    lines that were put into the inbox before.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        context: Context,
        *,
        sync_every_s: float,
        hole_seen: Callable[[], None],
        parking: ParkedIds,
        rotate_bytes: int | None = None,
        heads: Callable[[], Sequence[bytes]] = lambda: (),
        durable: Callable[[Sequence[Inbound]], None] = lambda _: None,
    ) -> None:
        self._durable = durable
        self._rotate_bytes = ROTATE_BYTES if rotate_bytes is None else rotate_bytes
        self._heads = heads
        self._inbox = inbox = context.inbox
        self._metrics = metrics = context.metrics
        self._clock = context.clock
        self._journal = journal
        self._ledger = ledger
        self.sync_every_s = sync_every_s
        self._hole_seen = hole_seen
        self._parking = parking
        self.writing = asyncio.Lock()
        self.drain_due = asyncio.Event()
        self._trades_since = self._bytes_since = self._held_bytes_since = 0
        self._pairs_since: set[str] = set()
        self._in_flight = False
        # Earliest possible arrival of the oldest line that is not durable; None while all are durable.
        self._since_s: float | None = None
        metrics.inbox_limit.set(inbox.limit)
        metrics.inbox_bytes.set_function(lambda: inbox.size)
        metrics.unsynced_seconds.set_function(self.unsynced_s)

    async def run(self) -> None:
        """Commit until cancelled, at most once per ``sync_every_s`` unless the inbox is crowded."""
        while True:
            await self._inbox.wait()
            await self.flush()
            await first_of(self._clock.sleep(self.sync_every_s), self._inbox.is_crowded())
            if not self._inbox.size:
                self._since_s = None

    def unsynced_s(self) -> float:
        """Return the longest time in seconds that a line may have waited to become durable; 0 if all are durable."""
        if self._since_s is None or not (self._in_flight or self._inbox.size):
            return 0.0
        return self._clock.monotonic() - self._since_s

    async def flush(self) -> None:
        """Commit the waiting lines now. If cancelled, what was taken from the inbox is in the journal nevertheless."""
        if self._since_s is None:
            self._since_s = self._clock.monotonic()
        async with self.writing:
            batch = self._inbox.take()
            if not batch:
                self._since_s = None
                return
            hole_seen = await self._write(batch)
            if self._bytes_since >= self._rotate_bytes or self._held_bytes_since >= ROTATE_HELD_BYTES:
                hole_seen |= await self._rotate()
        if hole_seen:
            self._hole_seen()

    async def _write(self, batch: Sequence[Inbound]) -> bool:
        """Journal a batch, let it count, and return whether a hole was seen."""
        started_s = self._clock.monotonic()
        self._in_flight = True
        claims = joined(run for inbound in batch for run in inbound.claims)
        if self._parking.concerns(claims):
            batch = await self._append_sorted(batch)
            claims = joined(run for inbound in batch for run in inbound.claims)
        else:
            await to_the_end(asyncio.to_thread(self._journal.append, [inbound.line for inbound in batch]))
        self._in_flight, self._since_s = False, started_s
        hole_seen = self._claim(claims)
        self._durable(batch)
        for inbound in batch:
            if inbound.known is not None:
                self._ledger.know(inbound.known)
                hole_seen = True  # a hole may have closed
            if inbound.counts is not None and not inbound.counts.done():  # the waiting task may have been cancelled
                inbound.counts.set_result(None)
        # Counted as received, duplicates included: the claims join them.
        trades = sum(len(run.span) for inbound in batch for run in inbound.claims)
        size = sum(len(inbound.line) for inbound in batch)
        self._metrics.commit_seconds.observe(self._clock.monotonic() - started_s)
        self._count(batch, trades, size)
        self._trades_since += trades
        self._pairs_since.update(run.pair for run in claims)
        self._bytes_since += size
        self._held_bytes_since += sum(len(inbound.line) for inbound in batch if inbound.source != "ws")
        if self._trades_since >= enough(len(self._pairs_since)):
            self.drain_due.set()
        return hole_seen

    async def _append_sorted(self, batch: Sequence[Inbound]) -> list[Inbound]:
        """Journal a batch with ids that may not count yet or may release parked ones; return the journalled lines.

        All in one write, so that a release and the line that caused it are durable together.
        """
        now_ns = self._clock.wall_ns()
        steps = self._parking.sort(batch, now_ns)

        def append() -> list[Inbound]:
            lines = self._parking.resolved(steps, now_ns)
            self._journal.append([inbound.line for inbound in lines])
            return lines

        written = await to_the_end(asyncio.to_thread(append))
        self._parking.done(steps)
        return written

    def _count(self, batch: Sequence[Inbound], trades: int, size: int) -> None:
        """Count what a commit made durable. Nearly all lines are frames: only the others are counted one by one."""
        frames = len(batch)
        for inbound in [inbound for inbound in batch if inbound.source != "ws"]:
            of_it = sum(len(run.span) for run in inbound.claims)
            self._metrics.durable(inbound.source, frames=1, trades=of_it, size=len(inbound.line))
            frames, trades, size = frames - 1, trades - of_it, size - len(inbound.line)
        self._metrics.durable("ws", frames=frames, trades=trades, size=size)
        received_ns = segment.received_ns(batch[0].line)
        if received_ns is not None:
            self._metrics.durable_seconds.observe(max(0, self._clock.wall_ns() - received_ns) / 1e9)
        newest = next((one for one in reversed(batch) if one.claims and one.source == "ws"), None)
        if newest is not None and _NEWS in newest.line:
            received_ns = segment.received_ns(newest.line)
            if received_ns is not None:
                self._metrics.feed_seconds.observe(max(0, received_ns - newest.claims[-1].last_us * 1000) / 1e9)

    def _claim(self, claims: Iterable[Run]) -> bool:
        """Count runs as stored; return whether one left a hole behind it, or is its pair's first."""
        hole_seen = False
        for run in claims:
            account = self._ledger.of(run.pair)
            if account.renumbered is not None:  # the drain sets it aside
                continue
            spans = account.spans
            before = len(spans)
            self._ledger.observe(run)
            hole_seen |= len(spans) > before
        return hole_seen

    async def rotate(self) -> None:
        """Close the open segment, so that everything journalled until now can be drained."""
        async with self.writing:
            hole_seen = await self._rotate()
            self._trades_since = 0
            self._pairs_since.clear()
            self.drain_due.clear()
        if hole_seen:
            self._hole_seen()

    async def _rotate(self) -> bool:
        """Close the open segment, with what waits if the next one begins with what follows from that."""
        heads = self._heads()
        # Nothing may come in between: what is received from here on changes what the heads show.
        waiting = self._inbox.take() if heads else []
        hole_seen = await to_the_end(self._begin(heads, waiting))
        self._bytes_since = self._held_bytes_since = 0
        return hole_seen

    async def _begin(self, heads: Sequence[bytes], waiting: Sequence[Inbound]) -> bool:
        """Close the open segment with the lines ``waiting``, and begin the next with ``heads``."""
        hole_seen = bool(waiting) and await self._write(waiting)
        await asyncio.to_thread(self._journal.rotate, self._clock.wall_ns())
        if heads:
            await asyncio.to_thread(self._journal.append, heads)
        return hole_seen
