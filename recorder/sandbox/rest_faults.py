"""Faults of REST answers on demand (API.md 2, 3): errors instead of answers, pages of the edge, damaged answers.

Contains which fault strikes which request, and the substitute for the right answer. Does not know HTTP:
``rest_frontend`` applies the faults. A fault lasts for a time, for a number of requests, or until released, on all
paths or on one. Pages can also replace the handshake of a WebSocket, which counts as no path unless named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from recorder.clock import Clock
from recorder.errors import UsageError

ERRORS: Final[Mapping[str, str]] = {
    "unavailable": "EService:Unavailable",
    "busy": "EService:Busy",
    "internal_error": "EGeneral:Internal error",
    "too_many_requests": "EGeneral:Too many requests",
    "rate_limit": "EAPI:Rate limit exceeded",
    "throttled": "EService: Throttled: {until}",
}
"""Name → the error sent with HTTP 200; ``until`` is a Unix time."""
PAGES: Final[Mapping[str, tuple[int, str]]] = {
    "http_302": (302, "Found"),
    "http_403": (403, "Forbidden"),
    "http_429": (429, "Too Many Requests"),
    "http_500": (500, "Internal Server Error"),
    "http_502": (502, "Bad Gateway"),
    "http_503": (503, "Service Temporarily Unavailable"),
    "http_520": (520, "Web server is returning an unknown error"),
}
"""Name → the status and title of a page of HTML."""
DAMAGE: Final[Mapping[str, str]] = {
    "slow": "comes late",
    "cached": "is the one given to the same URL less than 2 s ago",
    "no_last": "lacks its last",
    "truncated": "ends in the middle, and says that this is all of it",
    "cut": "ends in the middle, and the connection with it",
}
"""Name → what happens to the right answer."""
NAMES: Final = (*ERRORS, *PAGES, *DAMAGE)

SLOW_S: Final = 5.0
"""The default delay of a slow answer."""
THROTTLED_S: Final = 10.0
"""The retry time named in a throttle without an end, in seconds ahead."""
EVERYWHERE: Final = "/0/"
HANDSHAKE: Final = "/v2"


def is_path(path: str) -> bool:
    """Return whether faults can apply to this path."""
    return path == HANDSHAKE or path.startswith(EVERYWHERE)


@dataclass(frozen=True, slots=True)
class Beside:
    """The extra headers of a page: when to retry, as seconds or as a date, and where to redirect."""

    retry_after_s: float | None = None
    as_date: bool = False
    location: str = ""

    def headers(self, now_s: float) -> dict[str, str]:
        """Return the headers at this Unix time."""
        sent = {"Location": self.location} if self.location else {}
        if self.retry_after_s is not None:
            until = formatdate(now_s + self.retry_after_s, usegmt=True)
            sent["Retry-After"] = until if self.as_date else f"{self.retry_after_s:.0f}"
        return sent


@dataclass(slots=True)
class RestFault:
    """One active fault: until a monotonic time, for the remaining number of requests, on paths with this prefix."""

    name: str
    until_s: float
    left: float
    path: str
    delay_s: float
    beside: Beside = Beside()

    @property
    def replaces(self) -> bool:
        """Whether it replaces the right answer."""
        return self.name in ERRORS or self.name in PAGES


class RestFaults:
    """The active faults. Times are monotonic seconds of the given clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_force: list[RestFault] = []

    def throw(
        self,
        name: str,
        for_s: float | None = None,
        *,
        n: int | None = None,
        path: str = EVERYWHERE,
        delay_s: float = SLOW_S,
        beside: Beside = Beside(),
    ) -> None:
        """Activate a fault for a time and for the next ``n`` requests to ``path``, whichever ends first.

        Raise UsageError for an unknown fault, or one that could never strike.
        """
        if name not in NAMES:
            raise UsageError(f"there is no mishap {name!r}; there are {', '.join(NAMES)}")
        if n is not None and n < 1:
            raise UsageError(f"a mishap for {n} requests; it must be for 1 or more")
        if not is_path(path) or (path == HANDSHAKE and name not in PAGES):
            raise UsageError(
                f"{name} at the path {path!r}, which is none of the exchange; write one like /0/public/OHLC, or of "
                f"{', '.join(PAGES)} also {HANDSHAKE}"
            )
        until_s = math.inf if for_s is None else self._clock.monotonic() + for_s
        self._in_force.append(RestFault(name, until_s, math.inf if n is None else n, path, delay_s, beside))

    def release(self) -> None:
        """Stop all faults."""
        self._in_force.clear()

    def strike(self, path: str) -> list[RestFault]:
        """Return the faults that strike one request to ``path``, in the order of activation; each is counted."""
        now_s = self._clock.monotonic()
        self._in_force = [mishap for mishap in self._in_force if now_s < mishap.until_s and mishap.left > 0]
        struck = [mishap for mishap in self._in_force if path.startswith(mishap.path)]
        for mishap in struck:
            mishap.left -= 1
        return struck

    def error_of(self, mishap: RestFault) -> str:
        """Return the error sent instead of an answer."""
        left_s = mishap.until_s - self._clock.monotonic()
        ahead_s = THROTTLED_S if math.isinf(left_s) else left_s
        return error_text(mishap.name, until_s=self._clock.wall_ns() / 1e9 + ahead_s)


def error_text(name: str, *, until_s: float) -> str:
    """Return the error of this name; ``until_s`` is Unix time, printed in whole seconds, never too early."""
    return ERRORS[name].format(until=math.ceil(until_s))


def page_text(name: str) -> str:
    """Return the page of HTML of this name."""
    status, title = PAGES[name]
    return f"<html><head><title>{status} {title}</title></head><body><h1>{status} {title}</h1></body></html>"
