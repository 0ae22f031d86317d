"""Waits after failures: exponential for requests, and jittered, within a budget, for connections.

A repeated request doubles its wait with each consecutive failure (:class:`GrowingDelay`) and starts over once it
succeeds. Reconnecting is different: a loop that resets after each successful handshake reconnects a thousand times a
second to a server that accepts and closes. Here only time spent connected counts. Each connection has its own
:class:`Backoff`, and all connections share one budget of attempts, because the exchange counts attempts per address.
"""

from __future__ import annotations

from random import Random
from typing import Final

FIRST_CEILING_S: Final = 1.0
"""Longest wait before the first retry, in seconds: most outages are one dropped connection."""
LAST_CEILING_S: Final = 30.0
WORKED_S: Final = 5.0
"""A session that was served for this many seconds has worked, however it ended: its end is no reason to delay the next
connection. Kraken's own client uses 30 s (API.md 4.3) and has no budget of attempts; here the budget bounds them."""
WINDOW_S: Final = 600.0
WINDOW_ATTEMPTS: Final = 100
"""Attempts in ten minutes. Beyond about 150 the edge blocks the address for ten minutes (API.md 4.3)."""
BURST: Final = 40
"""Attempts of these that may come at once: seven connections cover every pair that Kraken lists, and each can go
through its growing waits before the budget slows it down."""
SPACING_S: Final = WINDOW_S / (WINDOW_ATTEMPTS - BURST)
"""Seconds between the remaining attempts. Spent all at once, they would leave minutes without any attempt."""
_SPACING_NS: Final = int(SPACING_S * 1e9)
_DOUBLINGS: Final = 30
"""After this many doublings a wait has reached its maximum, or is longer than any recorder runs."""


def next_delay_s(failures: int, *, first_s: float, last_s: float) -> float:
    """Return the wait in seconds after consecutive failures: ``first_s``, twice, four times that, … ``last_s``."""
    return min(last_s, first_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS))


class GrowingDelay:
    """A wait that doubles with each consecutive failure, from ``first_s`` up to ``last_s`` seconds."""

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._failures = 0

    def failed(self) -> float:
        """Count a failure; return the number of seconds to wait after it."""
        self._failures += 1
        return next_delay_s(self._failures, first_s=self._first_s, last_s=self._last_s)

    def reset(self) -> None:
        """Start over after a success."""
        self._failures = 0


def ceiling_s(failures: int) -> float:
    """Return the longest wait before a connection after ``failures`` consecutive failures: 1, 2, 4, … 30 s."""
    return next_delay_s(failures, first_s=FIRST_CEILING_S, last_s=LAST_CEILING_S)


def session_worked(worked_s: float, *, served: bool) -> bool:
    """Return whether a session counts as recovery: it was ``served`` for ``worked_s``, up to its last sign of life."""
    return served and worked_s >= WORKED_S


class Backoff:
    """The reconnect policy of one connection. ``random`` is a parameter so that tests can seed it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0

    def ended(self, *, worked: bool) -> None:
        """Count the end of a session or a failed attempt."""
        self._failures = 1 if worked else self._failures + 1

    def delay_s(self) -> float:
        """Return the wait before the next attempt, in seconds."""
        return self._random.uniform(0.0, ceiling_s(self._failures))


def attempt(paid_ns: int, now_ns: int) -> tuple[float, int]:
    """Return the seconds until an attempt is allowed (0: now), and the time until which attempts are then paid for.

    Each attempt costs :data:`SPACING_S`; ``paid_ns`` is the second value of the previous call, 0 before the first.
    Times are wall-clock ns, because only that clock outlives a process. A step of the clock never makes the wait
    longer.
    """
    if paid_ns > now_ns + BURST * _SPACING_NS:  # set by a clock that has been set back since
        paid_ns = now_ns
    wait_ns = paid_ns - (BURST - 1) * _SPACING_NS - now_ns
    return (wait_ns / 1e9, paid_ns) if wait_ns > 0 else (0.0, max(now_ns, paid_ns) + _SPACING_NS)
