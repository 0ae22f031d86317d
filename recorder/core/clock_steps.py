"""Detection of steps of the host's wall clock, by comparison with its monotonic clock, which cannot be set.

Contains the definition of a step. Slewing is none: on Linux NTP slews both clocks alike, and elsewhere it moves the
wall clock by at most half a millisecond a second.
"""

from __future__ import annotations

from typing import Final

BOUND_S: Final = 0.5
"""Seconds below which a difference is no step: half a second changes no decision of the recorder. A leap second is a
whole second, and NTP slews up to an eighth of a second and steps beyond."""


class ClockSteps:
    """Compares successive readings of both clocks and returns the jump of the wall clock between them.

    If the machine slept, the monotonic clock of Linux stood still, and the wall clock is ahead as after a step. These
    clocks cannot distinguish the two, and need not: in both cases the times of receipt have jumped.
    """

    def __init__(self) -> None:
        self._ahead_s: tuple[float, float] | None = None

    def measure(self, before_s: float, wall_ns: int, after_s: float) -> float:
        """Return how many seconds the wall clock has stepped since the last reading, negative for back; 0.0 for none.

        It was read between ``before_s`` and ``after_s`` of the monotonic clock: so a process that was halted in between
        reports no step.
        """
        wall_s = wall_ns / 1e9
        was, now = self._ahead_s, (wall_s - after_s, wall_s - before_s)
        self._ahead_s = now
        if was is None or (now[0] - was[1] <= BOUND_S and now[1] - was[0] >= -BOUND_S):
            return 0.0
        return (sum(now) - sum(was)) / 2
