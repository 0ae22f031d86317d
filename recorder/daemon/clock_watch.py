"""Notice when the host's clock is set: times of receipt have a seam there, and whoever reads them should know.

A step needs no other answer: waits go by the monotonic clock, nothing is removed by the host's clock alone, neither by
what it says now nor by what it said when a file was written (ops/exchange_clock.py), and the schedule of candles,
which end by the clock, puts itself right (core/candle_schedule.py).
"""

from __future__ import annotations

from typing import Final

import structlog

from recorder.core.clock_steps import ClockSteps
from recorder.core.event_kinds import EventKind
from recorder.runtime.context import Context

LOOK_S: Final = 5.0
"""How often both clocks are read, which takes microseconds: so well is it known when the step was."""

log = structlog.get_logger()


class ClockWatch:
    """Reads both clocks every :data:`LOOK_S` seconds."""

    def __init__(self, context: Context) -> None:
        self._notes = context.notes
        self._clock = context.clock
        self._metrics = context.metrics

    async def run(self) -> None:
        """Look until cancelled."""
        steps = ClockSteps()
        while True:
            before_s = self._clock.monotonic()
            wall_ns = self._clock.wall_ns()
            stepped_s = round(steps.measure(before_s, wall_ns, self._clock.monotonic()), 3)
            if stepped_s:
                why = "it was set" if stepped_s < 0 else "it was set, or this machine slept"
                log.warning("the clock stepped", seconds=stepped_s, reason=why)
                self._metrics.clock_steps.inc()
                await self._notes.event(EventKind.CLOCK_STEPPED, seconds=stepped_s)
            await self._clock.sleep(LOOK_S)
