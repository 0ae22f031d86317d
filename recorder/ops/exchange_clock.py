"""Offset of the host's clock from the exchange's, and bounds of the current time, from ``Date`` headers of answers.

An answer is created between its request and its receipt, within the second given by its ``Date``. So each answer bounds
the offset from both sides, and together they are more precise than one second.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from recorder.clock import Clock

KEPT: Final = 32
"""Answers used together: half a minute at one request a second, in which a clock does not drift."""


class ClockOffset:
    """Estimates the offset from answers; :attr:`offset_s` is the middle of the possible range, None at first."""

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def take(self, *, sent_s: float, recv_s: float, date_s: int) -> None:
        """Add an answer: its request and receive times by the host's clock, and its ``Date``, in seconds since 1970."""
        low_s, high_s = sent_s - (date_s + 1), recv_s - date_s
        if self._bounds and not self._allowed(low_s, high_s):
            self._bounds.clear()  # a clock was set, or an edge repeated an old answer: trust the newest
        self._bounds.append((low_s, high_s))

    @property
    def offset_s(self) -> float | None:
        """Seconds that the host is ahead; negative if behind."""
        if not self._bounds:
            return None
        low_s, high_s = max(low for low, _ in self._bounds), min(high for _, high in self._bounds)
        return (low_s + high_s) / 2

    def _allowed(self, low_s: float, high_s: float) -> bool:
        """Return whether one offset fits these bounds and all stored ones."""
        return low_s <= min(high for _, high in self._bounds) and high_s >= max(low for low, _ in self._bounds)


class ConfirmedTime:
    """The earliest and the latest possible time: the minimum and the maximum of the host's and the exchange's time.

    The exchange's time is that of its latest answer plus the time since by the monotonic clock, so no step of the
    host's clock changes it; while the machine sleeps, it stands still until the next answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s: float | None = None

    def take(self, date_s: int) -> None:
        """Add the ``Date`` of an answer received now."""
        self._ahead_s = date_s - self._clock.monotonic()

    def now_s(self) -> float | None:
        """Return seconds since 1970; None before the first answer: the host's clock is unconfirmed until then."""
        exchange_s = self._exchange_s()
        return None if exchange_s is None else min(exchange_s, self._clock.wall_ns() / 1e9)

    def latest_s(self) -> float:
        """Return seconds since 1970; before the first answer the host's time."""
        return max(self._exchange_s() or 0.0, self._clock.wall_ns() / 1e9)

    def _exchange_s(self) -> float | None:
        return None if self._ahead_s is None else self._ahead_s + self._clock.monotonic()
