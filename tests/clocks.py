"""The clock of the tests: time passes when they say so, and tasks have their turns in between."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from typing import Protocol

NOW_NS = 1_783_465_205_562_702_999
"""2026-07-07T23:00:05.562702999Z, a moment whose nanoseconds tell cutting from rounding."""


class ManualClock:
    """Time that passes only when a test says so; or, where it is ``eager``, by sleeping alone, and then at once.

    Each look at the wall clock takes ``look_ns``. A sleep takes a nanosecond at least: else one for less has no end.
    """

    def __init__(self, now_ns: int = NOW_NS, *, eager: bool = False, look_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._began_ns = now_ns
        self._stepped_ns = 0
        self._look_ns = look_ns
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self._eager = asyncio.Event() if eager else None
        self.go_on()

    def monotonic(self) -> float:
        return (self._now_ns - self._began_ns) / 1e9

    def wall_ns(self) -> int:
        self._now_ns += self._look_ns
        return self._now_ns + self._stepped_ns

    def step(self, seconds: float) -> None:
        """Set the wall clock, as a person or NTP does."""
        self._stepped_ns += round(seconds * 1e9)

    def stop(self) -> None:
        """Let an eager clock stand."""
        if self._eager is not None:
            self._eager.clear()

    def go_on(self) -> None:
        """Let an eager clock go on."""
        if self._eager is not None:
            self._eager.set()

    @property
    def sleepers(self) -> int:
        """How many have gone to sleep until a moment that has not come; something else may have woken them since."""
        return len(self._sleepers)

    @property
    def waking_ns(self) -> list[int]:
        """When those who sleep and were not woken by something else will wake."""
        return [at_ns for at_ns, woken in self._sleepers if not woken.done()]

    async def sleep(self, delay_s: float) -> None:
        if self._eager is not None:
            await self._eager.wait()
            self._now_ns += max(0, math.ceil(delay_s * 1e9))
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        delay_ns = int(delay_s * 1e9) if delay_s <= 0 else max(1, int(delay_s * 1e9))
        self._sleepers.append((self._now_ns + delay_ns, woken))
        await woken

    def move(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._now_ns]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now_ns]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)


class Task(Protocol):
    """What runs until it is cancelled."""

    async def run(self) -> None: ...


@contextlib.asynccontextmanager
async def running(*tasks: Task) -> AsyncIterator[None]:
    """Run ``tasks``, and end them at last; what one of them failed with meanwhile is raised."""
    started = [asyncio.create_task(task.run()) for task in tasks]
    try:
        await settle()
        yield
    finally:
        for task in started:
            task.cancel()
        for ended in await asyncio.gather(*started, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def settle_until(true: Callable[[], bool]) -> None:
    """Let tasks and their threads go on until ``true()`` is."""
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.001)


async def asleep(clock: ManualClock, sleepers: int = 1) -> None:
    """Let tasks and their threads go on until so many sleep by the clock (:attr:`ManualClock.sleepers`)."""
    await settle_until(lambda: clock.sleepers == sleepers)
