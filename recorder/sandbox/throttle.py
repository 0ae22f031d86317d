"""The rate limit of public REST: one token bucket for each client address (API.md 4.1, 13).

Contains the decision to refuse; ``rest_frontend`` sends the refusal, in the form chosen here. All published limits
match a bucket of 30 that gains one token a second.
"""

from __future__ import annotations

import math
from typing import Final

from recorder.clock import Clock
from recorder.errors import UsageError
from recorder.sandbox.rest_faults import ERRORS, PAGES

SIZE: Final = 30.0
PER_S: Final = 1.0
CALM_S: Final = 5.0
"""The silence that ends a throttle prolonged by further calls: Kraken requires at least this (API.md 3.2)."""
FORMS: Final = ("too_many_requests", "rate_limit", "http_429", "throttled")
"""The forms of a refusal, by the names of ``rest_faults``."""


class Throttle:
    """The buckets, full at first. With ``sticky``, a call while throttled restarts the silence of :data:`CALM_S`."""

    def __init__(
        self,
        clock: Clock,
        *,
        size: float = SIZE,
        per_s: float = PER_S,
        sticky: bool = False,
        form: str = FORMS[0],
    ) -> None:
        if form not in FORMS:
            raise UsageError(f"there is no form of refusal {form!r}; there are {', '.join(FORMS)}")
        if not (size >= 1 and per_s > 0):
            raise UsageError(f"a bucket of {size} that gains {per_s} a second lets nobody through; write 30 and 1")
        assert form in ERRORS or form in PAGES, "what is refused is told as a mishap would be"
        self.form = form
        self.refused = 0
        """Calls refused so far."""
        self._clock = clock
        self._size, self._per_s, self._sticky = size, per_s, sticky
        self._buckets: dict[str, tuple[float, float]] = {}
        self._calm_from_s: dict[str, float] = {}

    def allows(self, client: str) -> bool:
        """Use one token of this client's and return True, or return False."""
        now_s = self._clock.monotonic()
        tokens, at_s = self._buckets.get(client, (self._size, now_s))
        tokens = min(self._size, tokens + (now_s - at_s) * self._per_s)
        # Slightly below a whole token counts as one: float rounding must not refuse a client at exactly the limit.
        allowed = now_s >= self._calm_from_s.get(client, -math.inf) and tokens >= 1 - 1e-9
        if not allowed:
            self.refused += 1
            if self._sticky:
                self._calm_from_s[client] = now_s + CALM_S
        self._buckets[client] = (tokens - 1 if allowed else tokens, now_s)
        return allowed

    def free_at_s(self, client: str) -> float:
        """Return the monotonic time from which this client is served again."""
        now_s = self._clock.monotonic()
        tokens, at_s = self._buckets.get(client, (self._size, now_s))
        return max(at_s + max(0.0, 1 - tokens) / self._per_s, self._calm_from_s.get(client, now_s))
