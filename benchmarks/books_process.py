"""The process that records books, as in ``recorder.market``, by the clock of a simulation, and with what it received.

Started by ``benchmarks/books_hour.py``, with the file of the clock, when it began in ns since 1970, and a file to note
received frames in. A note is written before anything is done with its frame: it outlives a kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks.lockstep import Follower
from recorder import market
from recorder.clock import Clock
from recorder.net.websocket import Socket, dial

DRAIN_S: Final = 240.0
"""Seconds between two drains, less than in production: an hour is to have more than two."""
STATE_S: Final = 0.05
"""Real seconds between two signs of life, which the supervisor counts in simulated ones."""


class Noted:
    """A connection whose book frames are noted as they are received: the time in ns, and the frame, on one line."""

    def __init__(self, socket: Socket, clock: Clock, into: int) -> None:
        self._socket, self._clock, self._into = socket, clock, into
        self.send, self.close = socket.send, socket.close

    async def receive(self) -> bytes:
        """Return the next frame, once it is noted."""
        frame = await self._socket.receive()
        if frame.startswith(b'{"channel":"book"'):
            os.write(self._into, b"%d %b\n" % (self._clock.wall_ns(), frame))
        return frame


def main() -> None:
    """Record as the process of the recorder does."""
    clock = Follower(Path(sys.argv[1]), int(sys.argv[2]))
    into = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    begin = market.record

    async def record(*arguments: Any) -> None:  # noqa: ANN401 -- as the original
        running = asyncio.create_task(clock.run())
        try:
            await begin(*arguments, clock=clock)
        finally:
            running.cancel()

    @contextlib.asynccontextmanager
    async def noted(*arguments: Any) -> AsyncIterator[Socket]:  # noqa: ANN401 -- likewise
        async with dial(*arguments) as socket:
            yield Noted(socket, clock, into)

    with (
        mock.patch.object(market, "record", record),
        mock.patch.object(market, "dial", noted),
        mock.patch.object(market, "STATE_S", STATE_S),
        mock.patch.object(market, "BOOKS_DRAIN_S", DRAIN_S),
    ):
        market.main()


if __name__ == "__main__":
    main()
