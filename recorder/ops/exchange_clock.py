"""How far the host's clock is ahead of the exchange's, and what time it is, from the ``Date`` of its answers.

An answer is made between the request and its receipt, within the second that its ``Date`` names. So each bounds the
offset from both sides, and together they do it better than the second they are given in.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from recorder.clock import Clock

KEPT: Final = 32
"""Answers taken together: half a minute at one request a second, in which a clock does not drift."""


class ClockOffset:
    """Takes answers; :attr:`offset_s` is the middle of what they allow, None before the first."""

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def take(self, *, sent_s: float, recv_s: float, date_s: int) -> None:
        """Take an answer: when it was asked for and received by the host's clock, and its ``Date``, since 1970."""
        low_s, high_s = sent_s - (date_s + 1), recv_s - date_s
        if self._bounds and not self._allowed(low_s, high_s):
            self._bounds.clear()  # a clock was set, or an edge repeated an old answer: the newest is believed
        self._bounds.append((low_s, high_s))

    @property
    def offset_s(self) -> float | None:
        """Seconds that the host is ahead; below zero, behind."""
        if not self._bounds:
            return None
        low_s, high_s = max(low for low, _ in self._bounds), min(high for _, high in self._bounds)
        return (low_s + high_s) / 2

    def _allowed(self, low_s: float, high_s: float) -> bool:
        """Tell whether one offset fits these bounds and all that are kept."""
        return low_s <= min(high for _, high in self._bounds) and high_s >= max(low for low, _ in self._bounds)


class ConfirmedTime:
    """What time it is at least, and at most: the earlier and the later of what the host and the exchange say.

    The exchange's time is that of its latest answer and what has passed since by the monotonic clock, so no step of the
    host's clock moves it; while the machine sleeps it stands still until the next answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s: float | None = None

    def take(self, date_s: int) -> None:
        """Take the ``Date`` of an answer that came now."""
        self._ahead_s = date_s - self._clock.monotonic()

    def now_s(self) -> float | None:
        """Return seconds since 1970; None before the first answer: then nobody vouches for the host's clock."""
        exchange_s = self._exchange_s()
        return None if exchange_s is None else min(exchange_s, self._clock.wall_ns() / 1e9)

    def latest_s(self) -> float:
        """Return seconds since 1970; before the first answer what the host says."""
        return max(self._exchange_s() or 0.0, self._clock.wall_ns() / 1e9)

    def _exchange_s(self) -> float | None:
        return None if self._ahead_s is None else self._ahead_s + self._clock.monotonic()
