"""How far the host's clock is ahead of the exchange's, from the ``Date`` of its answers.

An answer is made between the request and its receipt, within the second that its ``Date`` names. So each bounds the
offset from both sides, and together they do it better than the second they are given in.
"""

from __future__ import annotations

from collections import deque
from typing import Final

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
