"""When the journal is drained: at intervals, and sooner when many trades are waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from recorder.clock import Clock
from recorder.core.model import Instrument
from recorder.errors import TableUnusable
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.quarantined_pairs import patiently
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.ops import process_setup
from recorder.runtime.waiting import first_of

log = structlog.get_logger()


TOGETHER_BYTES: Final = 256 * 1024 * 1024
"""Segments are drained together up to this size, so that a pair gets one file for all of them; more is waiting only
after a run that could not drain. About 1.3 M trades, whose offsets take 20 MB."""


def together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Group segments, which are in order, into those that are drained together."""
    taken, size = [], 0
    for path in paths:
        taken.append(path)
        size += path.stat().st_size
        if size >= TOGETHER_BYTES:
            yield taken
            taken, size = [], 0
    if taken:
        yield taken


class DrainSchedule:
    """Drains at intervals, and sooner when many trades are waiting.

    ``every_s`` returns the interval in seconds for a number of ``pairs``, a live collection. ``drained`` is called
    after each drain with the pairs whose trades were drained; None if lines of unknown pairs were lost.
    """

    def __init__(
        self,
        drainer: Drainer,
        journal: Journal,
        commit: Commit,
        *,
        every_s: Callable[[int], float],
        pairs: Collection[str],
        drained: Callable[[Collection[str] | None], None],
        clock: Clock,
    ) -> None:
        self._drainer = drainer
        self._journal = journal
        self._commit = commit
        self._every_s = every_s
        self._pairs = pairs
        self._drained = drained
        self._undrained = journal.number
        """The lowest number of a segment not drained yet; numbers from before this run may be missing."""
        self._clock = clock
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._drained_s = clock.monotonic()

    async def run(self) -> None:
        """DrainSchedule the segments of an earlier run, then at intervals, until :meth:`stop`."""
        self._drained_s = self._clock.monotonic()
        while True:
            last = self._stopping.is_set()  # checked before this drain begins, so that it includes everything
            await self.everything()
            if last:
                return
            await self._due()

    @property
    def every_s(self) -> float:
        """Interval between drains in seconds."""
        return self._every_s(len(self._pairs))

    def want(self, every_s: Callable[[int], float]) -> None:
        """Change the interval, as the constructor's ``every_s``."""
        self._every_s = every_s
        self._changed.set()

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:  # noqa: ARG002 -- their number counts
        """Compute the wait again: it may depend on the number of pairs."""
        self._changed.set()

    def drained_s(self) -> float:
        """Return the seconds since the last drain ended or, before the first, since the start."""
        return self._clock.monotonic() - self._drained_s

    def stop(self) -> None:
        """Make :meth:`run` drain once more and return."""
        self._stopping.set()

    async def everything(self) -> None:
        """DrainSchedule all that is journalled now."""
        started_s = self._clock.monotonic()
        await self._commit.rotate()
        if not await self.closed():
            return
        self._drained_s = self._clock.monotonic()
        self._drainer.metrics.drained(self._drained_s - started_s, self._clock.wall_ns())

    async def closed(self) -> bool:
        """DrainSchedule all closed segments, oldest first; return whether none had to stay."""
        done = True
        waiting, self._undrained = range(self._undrained, self._journal.number), self._journal.number
        closed = self._journal.closed()
        vanished = set(waiting).difference(map(segment.number_of, closed))
        if vanished:
            log.error("journal segments vanished", segments=sorted(vanished))
        await patiently(self._clock, lambda: asyncio.to_thread(self._drainer.heal))
        for paths in together(closed):
            try:
                await patiently(self._clock, lambda paths=paths: asyncio.to_thread(self._drainer.drain, *paths))  # type: ignore[misc]
            except TableUnusable as error:  # trades are archived, and add nothing when they are drained again
                remedy = "let this user list and write it: the segments stay in the journal until then"
                log.error("table cannot be used", reason=str(error), remedy=remedy)
                done = False
                break
            await asyncio.to_thread(process_setup.release_memory)
        await asyncio.to_thread(self._drainer.quarantined.measure)
        touched = self._drainer.touched()
        self._drained(None if vanished else touched)
        return done

    async def _due(self) -> None:
        since_s = self._clock.monotonic()
        sooner = (self._commit.drain_due, self._stopping)
        while not any(event.is_set() for event in sooner):
            self._changed.clear()
            wait_s = since_s + self.every_s - self._clock.monotonic()
            if wait_s <= 0:
                break
            await first_of(self._clock.sleep(wait_s), self._changed.wait(), *(event.wait() for event in sooner))
