"""Request rate and pauses: how long to pause after a throttle answer, and how the pace recovers. Pure.

Published limits range from ten requests a second down to one in three seconds (API.md 4), so the configured pace is
only a target; a throttle answer stops every request and halves the pace, which recovers slowly without refusals. A
refusal by the edge in front of the exchange (403, 429) may be a rule for one path, so it stops only that path, and
everything once another path has been refused too.
"""

from __future__ import annotations

from typing import Final

from recorder.core.backoff import GrowingDelay

FIRST_PAUSE_S: Final = 5.0
"""Kraken wants at least 5 s of silence after a throttle answer; further calls keep the throttle on (API.md 3.2)."""
LAST_PAUSE_S: Final = 60.0
"""Twice what is known to clear a throttle (30 s, API.md 3.1): our own pauses grow no longer."""
LONGEST_PAUSE_S: Final = 900.0
"""A pause that the exchange requests is honoured up to the longest it is known to want, a lockout of 15 minutes."""
FORBIDDEN_PAUSE_S: Final = 120.0
"""The edge wants minutes of silence after a 403 (API.md 3.2)."""
WHOLE_WITHIN_S: Final = 60.0
"""If two paths are refused within this many seconds, the refusal concerns the address, not the path."""
SLOWEST_PER_S: Final = 1 / 30
"""The pace never falls lower: no client has been refused at one request in nine seconds (API.md 4.1)."""
RECOVERY_PER_S: Final = 1 / 300
"""Each second without refusal regains this share of the configured pace: five minutes from zero to full."""


class Pace:
    """The time of the next request. All times are monotonic seconds of one clock."""

    def __init__(self, requests_per_second: float) -> None:
        self._wished_per_s = self._per_s = _positive(requests_per_second)
        self._next_s = float("-inf")
        self._pause = GrowingDelay(FIRST_PAUSE_S, LAST_PAUSE_S)
        self._paused_until_s = float("-inf")
        self._adapted_s = float("-inf")

    def claim(self, now_s: float) -> float:
        """Return 0 and use the slot if a request may go now, else the seconds to wait before the next call.

        Waiting callers have no reservation: a pause that begins meanwhile applies to them too, and after it they go one
        by one.
        """
        if now_s < self._next_s:
            return self._next_s - now_s
        self._recover(now_s)
        interval_s = 1 / self._per_s
        # A late wake-up is made up for, so that the configured pace is reached; an idle time earns nothing.
        self._next_s = (self._next_s if now_s < self._next_s + interval_s else now_s) + interval_s
        return 0.0

    def throttled(self, now_s: float, *, retry_after_s: float | None = None) -> float:
        """Record a refusal: stop everything, for longer each consecutive time, and halve the pace.

        ``retry_after_s`` is what the exchange requested. Returns the pause in seconds from ``now_s`` on.
        """
        wanted_s = min(LONGEST_PAUSE_S, retry_after_s or 0.0)
        if now_s < self._paused_until_s:
            # Sent before the pause began: it refuses the pace that is halved already, but may want a longer pause.
            self._pause_until(max(self._paused_until_s, now_s + wanted_s))
        else:
            self._pause_until(now_s + max(self._pause.failed(), wanted_s))
            self._per_s = max(min(SLOWEST_PER_S, self._wished_per_s), self._per_s / 2)
        return self._paused_until_s - now_s

    def answered(self, now_s: float) -> None:
        """Record an answer that was no refusal: the next pause starts short again.

        An answer to a request sent before a pause is no evidence about the pace after it.
        """
        if now_s >= self._paused_until_s:
            self._pause.reset()

    def set_rate(self, requests_per_second: float) -> None:
        """Set another target from now on. A pace lowered by refusals recovers from where it is."""
        full = self._per_s >= self._wished_per_s
        self._wished_per_s = _positive(requests_per_second)
        self._per_s = self._wished_per_s if full else min(self._per_s, self._wished_per_s)

    def pause(self, now_s: float, for_s: float) -> float:
        """Stop everything for at least this long, without lowering the pace; return the pause from ``now_s`` on."""
        self._pause_until(max(self._paused_until_s, now_s + min(LONGEST_PAUSE_S, for_s)))
        return self._paused_until_s - now_s

    @property
    def per_s(self) -> float:
        """The present pace in requests a second."""
        return self._per_s

    @property
    def configured_per_s(self) -> float:
        """The configured pace in requests a second."""
        return self._wished_per_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a request may go; 0 if now."""
        return max(0.0, self._next_s - now_s)

    def paused_s(self, now_s: float) -> float:
        """Return the remaining seconds of the present pause; 0 if there is none."""
        return max(0.0, self._paused_until_s - now_s)

    def _pause_until(self, end_s: float) -> None:
        self._paused_until_s = self._adapted_s = end_s
        self._next_s = max(self._next_s, end_s)

    def _recover(self, now_s: float) -> None:
        if self._per_s < self._wished_per_s and now_s > self._adapted_s:
            won = (now_s - self._adapted_s) * RECOVERY_PER_S * self._wished_per_s
            self._per_s = min(self._wished_per_s, self._per_s + won)
            self._adapted_s = now_s


class Paces:
    """The pace of the ``whole``, and of each path that was refused by itself."""

    def __init__(self, whole: Pace) -> None:
        self.whole = whole
        self._paths: dict[str, Pace] = {}
        self._refused_s: dict[str, float] = {}

    def path_wait_s(self, path: str, now_s: float) -> float:
        """Return the seconds until the pace of ``path`` alone allows a request; 0 if now."""
        return self._paths[path].wait_s(now_s) if path in self._paths else 0.0

    def claim(self, path: str, now_s: float) -> float:
        """Return 0 and use the slot if a request to ``path`` may go now, else the seconds until the next call."""
        wait_s = max(self.whole.wait_s(now_s), self.path_wait_s(path, now_s))
        if wait_s > 0:
            return wait_s
        if path in self._paths:
            self._paths[path].claim(now_s)
        return self.whole.claim(now_s)

    def refused(self, path: str, now_s: float, *, retry_after_s: float | None) -> tuple[float, bool]:
        """Record that the edge refused ``path``; return the pause in seconds, and whether it applies to everything."""
        recent = (at_s for one, at_s in self._refused_s.items() if one != path)
        whole = any(now_s - at_s <= WHOLE_WITHIN_S for at_s in recent)
        self._refused_s[path] = now_s
        pause_s = self._of(path).throttled(now_s, retry_after_s=retry_after_s)
        if whole:
            longest_s = max(one.paused_s(now_s) for one in self._paths.values())
            pause_s = self.whole.throttled(now_s, retry_after_s=longest_s)
        return pause_s, whole

    def pause(self, path: str, now_s: float, for_s: float) -> float:
        """Stop requests to ``path`` for at least this long, because it requested that; return the pause in seconds."""
        return self._of(path).pause(now_s, for_s)

    def answered(self, path: str, now_s: float) -> None:
        """Record an answer that was no refusal."""
        self.whole.answered(now_s)
        if path in self._paths:
            self._paths[path].answered(now_s)

    def per_s(self, path: str) -> float:
        """Return the present pace of requests to ``path`` in requests a second."""
        return min(self.whole.per_s, self._paths[path].per_s) if path in self._paths else self.whole.per_s

    def paused_s(self, now_s: float) -> float:
        """Return the remaining seconds of the longest present pause; 0 if there is none."""
        return max(one.paused_s(now_s) for one in (self.whole, *self._paths.values()))

    def _of(self, path: str) -> Pace:
        return self._paths.setdefault(path, Pace(self.whole.configured_per_s))


def _positive(requests_per_second: float) -> float:
    if requests_per_second <= 0:
        raise ValueError("a pace is above zero requests a second")
    return requests_per_second
