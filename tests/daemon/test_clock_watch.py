from __future__ import annotations

from recorder.daemon.clock_watch import LOOK_S, ClockWatch
from tests.clocks import running
from tests.fakes import Fakes


async def test_each_step_of_the_clock_is_an_event_with_its_seconds_and_is_counted(fakes: Fakes) -> None:
    async with running(ClockWatch(fakes.context)):
        for step_s in (0, 3600, 0, -86_400, 0.3):
            fakes.clock.step(step_s)
            await fakes.pass_time(LOOK_S, LOOK_S)
    assert fakes.noted() == [
        {"kind": "clock_stepped", "pair": None, "seconds": 3600.0},
        {"kind": "clock_stepped", "pair": None, "seconds": -86_400.0},
    ]
    assert fakes.value("recorder_clock_steps_total") == 2
