"""One simulated time for two processes: the leader's clock goes on once the follower's has come so far.

So neither is late because the other, or the machine, is busy. The time is in a file that both map into memory.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.end_to_end.fault_bench import FastClock

_LEADER, _FOLLOWER, _STEPPED = range(3)
"""Which number of the file is what: the seconds since the start, of either, and by how many the follower's host is off.
"""
_TURN_S: Final = 0.05
"""How far time goes at once; a market of the sandbox moves every fifth turn."""
_PAUSE_S: Final = 0.0005
"""Real seconds between two turns, in which the loop does what is due."""


def _mapped(path: Path) -> memoryview[float]:
    """Return the numbers in a file, each of which is read and written as a whole."""
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")


class Leader(FastClock):
    """The clock of the first process, whose time is written to ``path``. ``followed`` returns whether another runs."""

    def __init__(self, path: Path, start_ns: int) -> None:
        super().__init__(start_ns)
        path.write_bytes(bytes(3 * 8))
        self._shared = _mapped(path)
        self.followed: Callable[[], bool] = lambda: False

    def step_follower(self, seconds: float) -> None:
        """Set the wall clock of the other process, as NTP does."""
        self._shared[_STEPPED] += seconds

    async def run(self) -> None:
        """Let time pass for ever."""
        while True:
            await asyncio.sleep(_PAUSE_S)
            now_s = self._shared[_LEADER]
            if self._shared[_FOLLOWER] >= now_s or not self.followed():
                self._shared[_LEADER] = now_s + _TURN_S
                self.advance(now_s + _TURN_S)


class Follower(FastClock):
    """The clock of the other process."""

    def __init__(self, path: Path, start_ns: int) -> None:
        super().__init__(start_ns)
        self._shared = _mapped(path)
        self.advance(self._shared[_LEADER])

    async def run(self) -> None:
        """Let time pass for ever."""
        while True:
            now_s, self._stepped_s = self._shared[_LEADER], self._shared[_STEPPED]
            self.advance(now_s)
            self._shared[_FOLLOWER] = now_s
            await asyncio.sleep(_PAUSE_S)
