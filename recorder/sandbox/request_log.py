"""The log of requests to the sandbox, from which a client's behaviour can be judged.

Contains the list alone: every REST request and every WebSocket handshake, refused ones too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KEPT: Final = 100_000
"""The number of newest requests stored: a day of one request a second, and a bound for a runaway client."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as it arrived; ``at_s`` is monotonic (for pace), ``time_ns`` wall clock.

    A successful handshake is a 101. ``fault`` names the fault injected into the answer.
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
        """Log one request."""
        self._log.append(request)

    def to(self, path: str) -> list[LoggedRequest]:
        """Return the requests whose path begins with ``path``."""
        return [request for request in self._log if request.path.startswith(path)]

    def __iter__(self) -> Iterator[LoggedRequest]:
        return iter(tuple(self._log))

    def __len__(self) -> int:
        return len(self._log)
