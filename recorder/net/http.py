"""The one REST client: paced, timed out, and honest about who calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from recorder.version import __version__
from recorder.clock import Clock
from recorder.core.pacing import Pace
from recorder.errors import Forbidden, RateLimited, Unavailable
from recorder.kraken import rest

USER_AGENT: Final = f"kraken-recorder/{__version__} (market data archive; aiohttp)"
"""Requests without a descriptive agent have been answered 403 (API.md 2)."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0, connect=10.0)
FORBIDDEN_PAUSE_S: Final = 120.0
"""The edge wants minutes of silence after a 403 (API.md 3.2)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: when it came (ns by the wall clock), its whole body, and the ``result`` within."""

    recv_ns: int
    body: bytes
    result: bytes


def client_session() -> aiohttp.ClientSession:
    """Return a session for REST and WebSocket alike. TLS certificates are verified, as aiohttp does by default."""
    return aiohttp.ClientSession(headers={"User-Agent": USER_AGENT}, timeout=TIMEOUT)


class Http:
    """GETs public endpoints below ``base_url``, one after the other at the pace given."""

    def __init__(self, client: aiohttp.ClientSession, base_url: str, *, pace: Pace, clock: Clock) -> None:
        self._client = client
        self._base = base_url.rstrip("/")
        self._pace = pace
        self._clock = clock

    async def get(self, request: rest.Request) -> Answer:
        """Wait for this request's turn, send it, and return the answer.

        Raises ExchangeError of the kind that says what to do next. Throttling stops all requests of this client.
        """
        await self._turn()
        try:
            async with self._client.get(URL(self._base + request.target, encoded=True)) as response:
                body = await response.read()
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"cannot reach {self._base}{request.path}: {reason}") from error
        try:
            result = rest.result(status, body, retry_after_s=float(retry_after) if retry_after.isdecimal() else None)
        except RateLimited as error:
            self._pace.throttled(self._clock.monotonic(), retry_after_s=error.retry_after_s)
            raise
        except Forbidden:
            self._pace.throttled(self._clock.monotonic(), retry_after_s=FORBIDDEN_PAUSE_S)
            raise
        self._pace.answered()
        return Answer(self._clock.wall_ns(), body, result)

    async def _turn(self) -> None:
        """Wait for a place, and again for as long as a pause that began meanwhile lasts."""
        delay_s = self._pace.claim(self._clock.monotonic())
        while delay_s > 0:
            await self._clock.sleep(delay_s)
            delay_s = self._pace.paused_s(self._clock.monotonic())
