"""Detection of steps of the host's clock: receive times have a discontinuity there, which readers should know.

A step needs no other reaction: waits use the monotonic clock, nothing is removed by the host's clock alone, neither by
its time now nor by that when a file was written (ops/exchange_clock.py), and the schedule of candles, whose ends follow
the clock, corrects itself (core/candle_schedule.py).
"""

from __future__ import annotations

from typing import Final

import structlog

from recorder.core.clock_steps import ClockSteps
from recorder.core.event_kinds import EventKind
from recorder.runtime.context import Context

LOOK_S: Final = 5.0
"""Interval at which both clocks are read, which takes microseconds; the time of a step is known this precisely."""

log = structlog.get_logger()


class ClockWatch:
    """Reads both clocks every :data:`LOOK_S` seconds."""

    def __init__(self, context: Context) -> None:
        self._notes = context.notes
        self._clock = context.clock
        self._metrics = context.metrics

    async def run(self) -> None:
        """Check until cancelled."""
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
