"""How fast the exchange may be asked: one pace for all public REST, adapting to what it refuses.

Published figures run from ten requests a second down to one in three seconds (API.md 4), so the pace asked
for is a wish; a throttle answer stops every request, halves the pace, and calm lets it creep back.
"""

from __future__ import annotations

from typing import Final

FIRST_PAUSE_S: Final = 5.0
"""Kraken wants at least 5 s of silence after a throttle answer; calling on keeps the throttle on (API.md 3.2)."""
LAST_PAUSE_S: Final = 60.0
SLOWEST_PER_S: Final = 1 / 30
"""The pace never falls lower: nobody has been refused at one request in nine seconds (API.md 4.1)."""
RECOVERY_PER_S: Final = 1 / 300
"""Each second without refusal wins back this share of the pace wished for: five minutes from zero to full."""


class Pace:
    """When the next request may go out. All times are monotonic seconds of one clock."""

    def __init__(self, requests_per_second: float) -> None:
        if requests_per_second <= 0:
            raise ValueError("a pace is above zero requests a second")
        self._wished_per_s = requests_per_second
        self._per_s = requests_per_second
        self._next_s = float("-inf")
        self._pause_s = FIRST_PAUSE_S
        self._paused_until_s = float("-inf")
        self._adapted_s = float("-inf")

    def claim(self, now_s: float) -> float:
        """Reserve the next place and return how many seconds to wait for it. Claims are served in order."""
        start_s = max(now_s, self._next_s, self._paused_until_s)
        self._recover(start_s)
        self._next_s = start_s + 1 / self._per_s
        return start_s - now_s

    def paused_s(self, now_s: float) -> float:
        """Return how long all requests are still stopped; a claim made before the pause must wait it out too."""
        return max(0.0, self._paused_until_s - now_s)

    def throttled(self, now_s: float, *, retry_after_s: float | None = None) -> float:
        """Take note of a refusal: stop everything, for longer each time in a row, and halve the pace.

        Returns the pause in seconds.
        """
        if now_s < self._paused_until_s:  # an answer to a request that was under way already
            return self._paused_until_s - now_s
        pause_s = max(self._pause_s, retry_after_s or 0.0)
        self._pause_s = min(LAST_PAUSE_S, self._pause_s * 2)
        self._paused_until_s = now_s + pause_s
        self._per_s = max(min(SLOWEST_PER_S, self._wished_per_s), self._per_s / 2)
        self._adapted_s = self._paused_until_s
        return pause_s

    def answered(self) -> None:
        """Take note of an answer that was no refusal: the next pause starts short again."""
        self._pause_s = FIRST_PAUSE_S

    @property
    def per_s(self) -> float:
        """The present pace in requests a second."""
        return self._per_s

    def _recover(self, now_s: float) -> None:
        if self._per_s < self._wished_per_s and now_s > self._adapted_s:
            won = (now_s - self._adapted_s) * RECOVERY_PER_S * self._wished_per_s
            self._per_s = min(self._wished_per_s, self._per_s + won)
            self._adapted_s = now_s
