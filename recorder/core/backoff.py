"""How long to wait before the next connection: full jitter, growing, and reset only by a healthy session.

A loop that resets after each successful handshake reconnects a thousand times a second against a server that
accepts and closes. Here only time spent connected counts.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

FIRST_CEILING_S: Final = 1.0
"""The first retry comes within a second: most outages are one dropped connection."""
LAST_CEILING_S: Final = 30.0
HEALTHY_S: Final = 30.0
"""A session that lasted this long was healthy; Kraken's own client uses the same figure (API.md 4.3)."""
WINDOW_S: Final = 600.0
WINDOW_ATTEMPTS: Final = 100
"""Attempts in ten minutes. Beyond about 150 the edge blocks the address for ten minutes (API.md 4.3)."""


def ceiling_s(failures: int) -> float:
    """Return the longest wait after so many failures in a row: 1, 2, 4, … 30 s."""
    return min(LAST_CEILING_S, FIRST_CEILING_S * 2.0 ** min(max(failures - 1, 0), 10))


def session_healthy(lasted_s: float, *, subscribed: bool) -> bool:
    """Tell whether a session counts as recovery: it was subscribed, and it lasted."""
    return subscribed and lasted_s >= HEALTHY_S


class Backoff:
    """The reconnect policy of one connection. ``random`` is passed in so that tests can seed it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0
        self._attempts: deque[float] = deque()

    def attempted(self, now_s: float) -> None:
        """Count a connection attempt made at ``now_s``."""
        self._attempts.append(now_s)
        while self._attempts and self._attempts[0] <= now_s - WINDOW_S:
            self._attempts.popleft()

    def ended(self, *, healthy: bool) -> None:
        """Count the end of a session or a failed attempt."""
        self._failures = 1 if healthy else self._failures + 1

    def delay_s(self, now_s: float) -> float:
        """Return how long to wait from ``now_s`` on."""
        jitter_s = self._random.uniform(0.0, ceiling_s(self._failures))
        if len(self._attempts) < WINDOW_ATTEMPTS:
            return jitter_s
        return max(jitter_s, self._attempts[-WINDOW_ATTEMPTS] + WINDOW_S - now_s)
