"""The log of what was asked of the sandbox, by which a client's manners can be judged.

Owns the list alone: every REST request and every WebSocket handshake, refused ones too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KEPT: Final = 100_000
"""Newest requests kept: a day of one request a second, and a bound on a client gone mad."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as it came in; ``at_s`` is monotonic (for pace), ``time_ns`` wall clock.

    A handshake that succeeds is a 101. ``fault`` names what went wrong with the answer on demand.
    """

    at_s: float
    time_ns: int
    method: str
    path: str
    query: str
    status: int
    fault: str = ""


class RequestLog:
    """The log, oldest first."""

    def __init__(self) -> None:
        self._log: deque[LoggedRequest] = deque(maxlen=KEPT)

    def add(self, request: LoggedRequest) -> None:
        """Take note of one request."""
        self._log.append(request)

    def to(self, path: str) -> list[LoggedRequest]:
        """Return the requests whose path begins with ``path``."""
        return [request for request in self._log if request.path.startswith(path)]

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(tuple(self._log))

    def __len__(self) -> int:
        return len(self._log)
