"""The two clocks, never mixed: monotonic seconds for waiting, wall-clock nanoseconds for recording.

No other module asks the operating system for the time, so tests can set it at will.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The clocks available to a task."""

    def monotonic(self) -> float:
        """Return the seconds since some fixed time; never steps back."""
        ...

    def wall_ns(self) -> int:
        """Return the nanoseconds since 1970-01-01 UTC by the host's clock, which may step."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait ``delay_s`` seconds of monotonic time."""
        ...


class SystemClock:
    """The host's clocks."""

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """See :class:`Clock`."""
        return time.time_ns()

    async def sleep(self, delay_s: float) -> None:
        """See :class:`Clock`."""
        await asyncio.sleep(delay_s)
