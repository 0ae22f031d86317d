"""Between the socket and the journal: bounded, so that a slow disk slows the socket and memory stays flat."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec

from recorder.core.evidence import Knowledge
from recorder.core.trade_ids import Run

LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Some 200,000 trades: minutes of a calm market, seconds of the wildest; then the socket waits."""

CROWDED: Final = 8
"""This part of the limit, 2 MB, waits for no clock: what lies beyond has room for all that comes during a sync, so that
the socket need not wait, and small writes cost less than half of large ones (measured, docs/decisions.md)."""


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """One journal line, and what counts once it is durable: runs of trades as held, and what it tells of other ids.

    ``source`` is how it came: over the stream, as an answer of REST, or from us. Who waits for it to count waits for
    ``counts``.

    The trades themselves are parsed again by the drain: keeping them would cost three times the line.
    """

    line: bytes
    claims: list[Run]
    known: Knowledge | None = None
    source: Literal["ws", "rest", "note"] = "ws"
    counts: asyncio.Future[None] | None = None


class Inbox:
    """Many put, one takes all there is."""

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
        """Add one line, waiting while the inbox is full: whoever reads the socket stops reading."""
        while not self.add(inbound):
            self._room.clear()
            await self._room.wait()

    def add(self, inbound: Inbound) -> bool:
        """Add one line if there is room for it, and tell; the way of a frame when nothing is wrong."""
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
        """Return once there is something to take."""
        await self._filled.wait()

    async def is_crowded(self) -> None:
        """Return once an eighth of what it may hold waits."""
        await self._crowded.wait()

    def take(self) -> list[Inbound]:
        """Take all there is, maybe nothing, and make room."""
        taken, self._waiting = self._waiting, []
        self._bytes = 0
        self._filled.clear()
        self._crowded.clear()
        self._room.set()
        return taken

    @property
    def limit(self) -> int:
        """Bytes at which it is full."""
        return self._limit_bytes

    @property
    def size(self) -> int:
        """Bytes waiting."""
        return self._bytes
