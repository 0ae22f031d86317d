"""Group commit: what waits in the inbox goes to the journal in one write and one sync, and only then counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from recorder.clock import Clock
from recorder.core.ledger import Ledger, Run, joined
from recorder.journal.journal import Journal
from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbox

DRAIN_TRADES: Final = 200_000
"""So many journalled trades are drained without waiting for the clock: a live reader parses the tail each time."""

DRAIN_BYTES: Final = 16 * 1024 * 1024
"""So much in the open segment is drained likewise, whatever it is: a drain holds candles until the segment's end."""


class Commit:
    """Moves lines from the inbox to the journal; sync, then claim.

    ``hole_seen`` is called when a pair has a hole after a claim. ``writing`` guards the journal's open segment.
    """

    def __init__(
        self,
        inbox: Inbox,
        journal: Journal,
        ledger: Ledger,
        *,
        sync_every_s: float,
        clock: Clock,
        metrics: Metrics,
        hole_seen: Callable[[], None],
    ) -> None:
        self._inbox = inbox
        self._journal = journal
        self._ledger = ledger
        self._sync_every_s = sync_every_s
        self._clock = clock
        self._metrics = metrics
        self._hole_seen = hole_seen
        self.writing = asyncio.Lock()
        self.drain_due = asyncio.Event()
        self._since_rotation = 0
        self._bytes_since_rotation = 0

    async def run(self) -> None:
        """Commit until cancelled, at most once in ``sync_every_s``."""
        while True:
            await self._inbox.wait()
            await self.flush()
            await self._clock.sleep(self._sync_every_s)

    async def flush(self) -> None:
        """Commit what waits now."""
        async with self.writing:
            batch = self._inbox.take()
            if not batch:
                return
            started_s = self._clock.monotonic()
            await asyncio.to_thread(self._journal.append, [inbound.line for inbound in batch])
            claims = joined(run for inbound in batch for run in inbound.claims)
            hole_seen = self._claim(claims)
            for inbound in batch:
                if inbound.known is not None:
                    self._ledger.know(inbound.known)
                    hole_seen = True  # it may be one no longer
        self._metrics.committed(claims, frames=len(batch), seconds=self._clock.monotonic() - started_s)
        self._since_rotation += sum(len(run.span) for run in claims)
        self._bytes_since_rotation += sum(len(inbound.line) for inbound in batch)
        if self._since_rotation >= DRAIN_TRADES or self._bytes_since_rotation >= DRAIN_BYTES:
            self.drain_due.set()
        if hole_seen:
            self._hole_seen()

    def _claim(self, claims: Iterable[Run]) -> bool:
        """Count runs as held; tell whether one of them left a hole behind it."""
        hole_seen = False
        for run in claims:
            spans = self._ledger.of(run.pair).spans
            before = len(spans)
            self._ledger.observe_run(run)
            hole_seen |= len(spans) > max(before, 1)
        return hole_seen

    async def rotate(self) -> None:
        """Close the open segment, so that it can be drained."""
        async with self.writing:
            await asyncio.to_thread(self._journal.rotate, self._clock.wall_ns())
            self._since_rotation = self._bytes_since_rotation = 0
            self.drain_due.clear()
