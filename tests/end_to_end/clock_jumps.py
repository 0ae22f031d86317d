"""Recorder and sandbox by one clock that the test leaps ahead, so that hours pass in seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from recorder import app
from recorder.clock import SystemClock
from recorder.config import Config
from recorder.runtime.stop import Stop
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import PATIENCE_S, config_for

START_NS = 1_783_465_205_562_702_999
"""2026-07-07T23:00:05Z: tests take less than the rest of the minute, and leap where another is to begin."""
LONG_S, SHORT_S = 6.0, 0.2
"""How far to leap: less than the silence after which a connection counts as dead (10 s); or, where requests are to
follow each other at a pace, so short that each has its turn."""
STEPS = 40
"""Turns of the event loop in each leap: more than a request takes from its start to its answer, however slow the
machine, so that none is under way while time leaps far."""


class LeapingClock:
    """A clock that goes on as the host's does, and leaps when told to; who sleeps meanwhile wakes in time."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self._host = SystemClock()
        self._offset_ns = start_ns - self._host.wall_ns()
        self._leapt_s = 0.0
        self._leaping = asyncio.Event()

    def monotonic(self) -> float:
        return self._host.monotonic() + self._leapt_s

    def wall_ns(self) -> int:
        return self._host.wall_ns() + self._offset_ns + round(self._leapt_s * 1e9)

    async def sleep(self, delay_s: float) -> None:
        until_s = self.monotonic() + delay_s
        await asyncio.sleep(0)
        while (left_s := until_s - self.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaping.wait(), left_s)

    def leap(self, seconds: float) -> None:
        self._leapt_s += seconds
        leaping, self._leaping = self._leaping, asyncio.Event()
        leaping.set()

    async def live(self, seconds: float, leap_s: float = LONG_S) -> None:
        """Let time pass in leaps, with time for everyone to do what is due in each."""
        end_s = self.monotonic() + seconds
        while self.monotonic() < end_s:
            self.leap(leap_s)
            await asyncio.sleep(0.004)
            for _ in range(STEPS):
                await asyncio.sleep(0)

    async def live_until(self, true: Callable[[], bool], *, what: str, leap_s: float = LONG_S) -> None:
        """Let time pass until ``true()`` is."""
        deadline_s = self._host.monotonic() + PATIENCE_S
        while not true():
            assert self._host.monotonic() < deadline_s, f"in vain: {what}"
            await self.live(LONG_S, leap_s)


def exchange(tmp_path: Path, clock: LeapingClock, *, rate: float = 0.5, history: int = 1000, **options: Any) -> Sandbox:
    market = Market(start_ns=clock.wall_ns(), rate=rate, history=history, **options)
    return Sandbox(market, clock=clock, truth=tmp_path / "truth")


def settings(sandbox: Sandbox, data: Path, *pairs: str, pace: float = 200.0, **ohlc: object) -> Config:
    config = config_for(sandbox, data, *pairs, pace=pace)
    return config.model_copy(update={"ohlc": config.ohlc.model_copy(update=ohlc)})


@contextlib.asynccontextmanager
async def recorded(config: Config, clock: LeapingClock, rhythm: app.Intervals | None = None) -> AsyncIterator[None]:
    stop = Stop()
    task = asyncio.create_task(app.record(config, stop, clock=clock, intervals=rhythm))
    try:
        yield
    finally:
        stop.signal()
        await task
