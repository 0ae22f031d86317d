from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from recorder.sandbox.pairs import pair_of
from recorder.sandbox.server import Sandbox
from recorder.sandbox.tape import Tape

NOW_NS = 1_783_465_205_562_702_999
"""2026-07-07T23:00:05.562702999Z, a moment whose nanoseconds tell cutting from rounding."""


class ManualClock:
    """Time that passes only when a test says so."""

    def __init__(self, now_ns: int = NOW_NS) -> None:
        self._now_ns = now_ns
        self._began_ns = now_ns
        self._stepped_ns = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return (self._now_ns - self._began_ns) / 1e9

    def wall_ns(self) -> int:
        return self._now_ns + self._stepped_ns

    def step(self, seconds: float) -> None:
        """Set the wall clock, as a person or NTP does."""
        self._stepped_ns += round(seconds * 1e9)

    @property
    def sleepers(self) -> int:
        """How many have gone to sleep until a moment that has not come; something else may have woken them since."""
        return len(self._sleepers)

    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_ns + int(delay_s * 1e9), woken))
        await woken

    def move(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._now_ns]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now_ns]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client at the REST address of the module's own ``sandbox``."""
    async with aiohttp.ClientSession(sandbox.rest_url) as session:
        yield session


def tape_of(*trades: tuple[int, int, int]) -> Tape:
    """Return a tape of (time, price, qty); one digit of price, five of quantity."""
    tape = Tape(pair_of("A/B", pair_decimals=1, lot_decimals=5))
    for time_ns, price, qty in trades:
        tape.append(time_ns, price=price, qty=qty, mark=0)
    return tape


@pytest.fixture
def payloads() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "kraken" / "payloads"
    if not folder.is_dir():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")
    return folder
