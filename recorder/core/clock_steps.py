"""Has the host's clock been set? What its wall clock says, held against its monotonic one, which nobody sets.

Owns: what counts as a step. Slewing is none: NTP lets both clocks run slower or faster alike on Linux, and elsewhere
moves the wall clock by half a millisecond a second at most.
"""

from __future__ import annotations

from typing import Final

BOUND_S: Final = 0.5
"""Less is no step: by half a second no decision of ours changes. A leap second is a whole one, and what NTP sets rather
than slews it sets by more than an eighth."""


class ClockSteps:
    """Takes looks at both clocks, seconds apart, and tells what the wall clock has jumped in between.

    Where the machine slept, the monotonic clock of Linux stood still, and the wall clock is ahead as after a step. The
    two cannot be told apart by these clocks, and need not be: in both cases the times of receipt have jumped.
    """

    def __init__(self) -> None:
        self._ahead_s: tuple[float, float] | None = None

    def measure(self, before_s: float, wall_ns: int, after_s: float) -> float:
        """Return by how many seconds the wall clock has stepped since the last look, below zero for back; 0.0 for none.

        It was read between ``before_s`` and ``after_s`` of the monotonic clock: a process that was halted in between
        tells no steps.
        """
        wall_s = wall_ns / 1e9
        was, now = self._ahead_s, (wall_s - after_s, wall_s - before_s)
        self._ahead_s = now
        if was is None or (now[0] - was[1] <= BOUND_S and now[1] - was[0] >= -BOUND_S):
            return 0.0
        return (sum(now) - sum(was)) / 2
