"""Bounded queue between the socket and the journal: a slow disk slows the socket, and memory use stays flat."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec

from recorder.core.evidence import Knowledge
from recorder.core.trade_ids import Run

LIMIT_BYTES: Final = 16 * 1024 * 1024
"""About 200,000 trades: minutes of a calm market, seconds of the busiest. Beyond it the socket waits."""

CROWDED: Final = 8
"""An eighth of the limit, 2 MB, is committed without waiting for the clock. The rest has room for all that arrives
during a sync, so that the socket need not wait, and small writes cost less than half of large ones (measured,
docs/decisions.md)."""


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """One journal line, and what counts once it is durable: runs of stored trades, and knowledge of other ids.

    ``source`` is how it arrived: from the stream, as a REST answer, or as one of our notes. Callers that wait until it
    counts await ``counts``.

    The drain parses the trades again: storing them here would take three times the memory of the line.
    """

    line: bytes
    claims: list[Run]
    known: Knowledge | None = None
    source: Literal["ws", "rest", "note"] = "ws"
    counts: asyncio.Future[None] | None = None


class Inbox:
    """A queue with many producers and one consumer, which takes all waiting lines at once."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._crowded_bytes = limit_bytes // CROWDED
        self._waiting: list[Inbound] = []
        self._bytes = 0
        self._filled = asyncio.Event()
        self._crowded = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, inbound: Inbound) -> None:
        """Add one line, waiting while the inbox is full; meanwhile the caller does not read its socket."""
        while not self.add(inbound):
            self._room.clear()
            await self._room.wait()

    def add(self, inbound: Inbound) -> bool:
        """Add one line if there is room, and return whether there was; the fast path of a frame."""
        if self._bytes >= self._limit_bytes:
            return False
        if not self._waiting:
            self._filled.set()
        self._waiting.append(inbound)
        self._bytes += len(inbound.line)
        if self._bytes >= self._crowded_bytes:
            self._crowded.set()
        return True

    async def wait(self) -> None:
        """Return once a line is waiting."""
        await self._filled.wait()

    async def is_crowded(self) -> None:
        """Return once an eighth of the limit is waiting."""
        await self._crowded.wait()

    def take(self) -> list[Inbound]:
        """Remove and return all waiting lines, maybe none."""
        taken, self._waiting = self._waiting, []
        self._bytes = 0
        self._filled.clear()
        self._crowded.clear()
        self._room.set()
        return taken

    @property
    def limit(self) -> int:
        """Size at which the inbox is full, in bytes."""
        return self._limit_bytes

    @property
    def size(self) -> int:
        """Size of the waiting lines, in bytes."""
        return self._bytes
