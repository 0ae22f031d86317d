"""A host whose clock is set, ahead and back, while it records: nothing is lost, and it is told."""

from __future__ import annotations

from pathlib import Path

from recorder import app
from recorder.journal import segment
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.server import Sandbox
from tests.end_to_end.clock_jumps import LeapingClock, exchange, recorded, settings
from tests.end_to_end.harness import archived, candles_held, caught_up, kinds, rows, served, until

DAY_S = 86_400

BTC = "BTC/USD"
YEAR_S = 365 * DAY_S
STEPS_S = [-10 * DAY_S, 11 * DAY_S, -DAY_S, YEAR_S]


class HostClock(LeapingClock):
    """The clock of a host beside the exchange's ``true`` one: somebody sets it."""

    def __init__(self, true: LeapingClock) -> None:
        self._true = true
        self._set_s = 0

    def monotonic(self) -> float:
        return self._true.monotonic()

    def wall_ns(self) -> int:
        return self._true.wall_ns() + self._set_s * 10**9

    async def sleep(self, delay_s: float) -> None:
        await self._true.sleep(delay_s)

    def step(self, seconds: int) -> None:
        self._set_s += seconds


async def asked_again(sandbox: Sandbox, clock: LeapingClock, times: int) -> None:
    """Return once candles were asked for so often, counted from now."""
    wanted = len(sandbox.requests.to("/0/public/OHLC")) + times
    await clock.live_until(lambda: len(sandbox.requests.to("/0/public/OHLC")) >= wanted, what="candles are asked for")


async def test_steps_of_the_host_s_clock_lose_nothing_and_are_told(tmp_path: Path) -> None:
    clock = LeapingClock()
    host, data, sandbox = HostClock(clock), tmp_path / "data", exchange(tmp_path, clock, history=100)
    revised = []
    async with sandbox.serve():
        config = settings(sandbox, data, BTC, timeframes=("1m",))
        config = config.model_copy(update={"archive": config.archive.model_copy(update={"drain_every": 20.0})})
        async with recorded(config, host, app.Intervals(maintenance_s=5.0)):
            for step_s in STEPS_S:
                # Only a candle that was answered before can be seen to change, and the wait below may be over a minute.
                await asked_again(sandbox, clock, 1)
                revised.append(sandbox.revise(BTC, 1))
                host.step(step_s)
                sandbox.faults.disconnect()
                sandbox.burst(BTC, 200)
                await asked_again(sandbox, clock, 2)
                await until(lambda: caught_up(data, {BTC: sandbox.last_ids()[BTC]}), what="all is held")
        right = {row[0]: row for row in await served(sandbox, BTC, 1)}
    shown = {row[0]: row for row in candles_held(data, "ohlc", BTC, "1m")}
    assert [shown[start_s] for start_s in revised] == [right[start_s] for start_s in revised]
    told = rows(data, "SELECT round((detail ->> 'seconds')::double)::bigint FROM events WHERE kind = 'clock_stepped'")
    assert sorted(told) == sorted((step_s,) for step_s in STEPS_S)
    assert kinds(data)["ohlc_revised"] == len(STEPS_S)
    kept = sorted(segment.number_of(path) for path in (data / "raw").glob("*.zst"))
    assert kept == list(range(1, len(kept) + 1)), "no segment becomes old because a clock says so, or said so"
    assert len(kept) > len(STEPS_S)
    truth = read_truth(tmp_path / "truth")
    assert compare(archived(data), {BTC: truth[BTC]}).perfect
