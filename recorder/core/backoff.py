"""How long to wait after failures: ever longer; and before the next connection: jittered, and within a budget.

What is asked again doubles its wait with each failure in a row (:class:`Growing`), and begins anew once it succeeds.
Reconnecting is another matter. A loop that resets after each successful handshake reconnects a thousand times a second
against a server that accepts and closes. Here only time spent connected counts. Each line has a :class:`Backoff` of its
own, and all lines together have one budget of attempts, since the exchange counts by address.
"""

from __future__ import annotations

from random import Random
from typing import Final

FIRST_CEILING_S: Final = 1.0
"""The first retry comes within a second: most outages are one dropped connection."""
LAST_CEILING_S: Final = 30.0
WORKED_S: Final = 5.0
"""A session that served us for so long has worked, however it ended: what ended it says nothing against connecting at
once. Kraken's own client wants 30 s (API.md 4.3) and has no budget of attempts, which bounds them here."""
WINDOW_S: Final = 600.0
WINDOW_ATTEMPTS: Final = 100
"""Attempts in ten minutes. Beyond about 150 the edge blocks the address for ten minutes (API.md 4.3)."""
BURST: Final = 40
"""Of these so many may come at once: seven lines hold all that Kraken lists, and each can go through its growing waits
before the budget slows them."""
SPACING_S: Final = WINDOW_S / (WINDOW_ATTEMPTS - BURST)
"""The others come one at a time, evenly. Spent all at once, they would leave minutes without any attempt."""
_SPACING_NS: Final = int(SPACING_S * 1e9)
_DOUBLINGS: Final = 30
"""A wait that has doubled so often is at its end, or is longer than any recorder runs."""


def next_delay_s(failures: int, *, first_s: float, last_s: float) -> float:
    """Return the wait after so many failures in a row: ``first_s``, twice, four times that, … ``last_s``."""
    return min(last_s, first_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS))


class GrowingDelay:
    """A wait that doubles with each failure in a row, from ``first_s`` up to ``last_s`` seconds."""

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._failures = 0

    def failed(self) -> float:
        """Count a failure; return how many seconds to wait after it."""
        self._failures += 1
        return next_delay_s(self._failures, first_s=self._first_s, last_s=self._last_s)

    def reset(self) -> None:
        """Begin anew: it succeeded."""
        self._failures = 0


def ceiling_s(failures: int) -> float:
    """Return the longest wait before a connection after so many failures in a row: 1, 2, 4, … 30 s."""
    return next_delay_s(failures, first_s=FIRST_CEILING_S, last_s=LAST_CEILING_S)


def session_worked(worked_s: float, *, served: bool) -> bool:
    """Return whether a session counts as recovery: it ``served`` us, from its beginning to its last sign of life."""
    return served and worked_s >= WORKED_S


class Backoff:
    """The reconnect policy of one line. ``random`` is passed in so that tests can seed it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0

    def ended(self, *, worked: bool) -> None:
        """Count the end of a session or a failed attempt."""
        self._failures = 1 if worked else self._failures + 1

    def delay_s(self) -> float:
        """Return how long to wait."""
        return self._random.uniform(0.0, ceiling_s(self._failures))


def attempt(paid_ns: int, now_ns: int) -> tuple[float, int]:
    """Return how many seconds nobody may make an attempt (0: somebody may now), and until when they are then paid for.

    Each attempt is paid for in :data:`SPACING_S`; ``paid_ns`` is what the last one returned, 0 before the first. Times
    are wall-clock ns, the one clock that outlives a process. Whatever steps it makes, nobody waits longer than that.
    """
    if paid_ns > now_ns + BURST * _SPACING_NS:  # from a clock that was set back since
        paid_ns = now_ns
    wait_ns = paid_ns - (BURST - 1) * _SPACING_NS - now_ns
    return (wait_ns / 1e9, paid_ns) if wait_ns > 0 else (0.0, max(now_ns, paid_ns) + _SPACING_NS)
