"""The one REST client: paced, timed out, and honest about who calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from recorder.clock import Clock
from recorder.core.pacing import Pace
from recorder.errors import Forbidden, RateLimited, Unavailable
from recorder.kraken import rest
from recorder.version import __version__

USER_AGENT: Final = f"kraken-recorder/{__version__} (market data archive; aiohttp)"
"""Requests without a descriptive agent have been answered 403 (API.md 2)."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0, connect=10.0)
MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of one answer. The largest real one, the whole listing, is below one million."""
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
    """GETs public endpoints below ``base_url``, starting one after the other at the pace given."""

    def __init__(self, client: aiohttp.ClientSession, base_url: str, *, pace: Pace, clock: Clock) -> None:
        self._client = client
        self._base = base_url.rstrip("/")
        self._pace = pace
        self._clock = clock
        self._turns = asyncio.Lock()

    async def get(self, request: rest.Request) -> Answer:
        """Wait for this request's turn, send it, and return the answer.

        Raises ExchangeError of the kind that says what to do next. Throttling stops all requests of this client.
        """
        await self._turn()
        try:
            async with self._client.get(URL(self._base + request.target, encoded=True)) as response:
                body = await self._body(response)
                status, retry_after = response.status, response.headers.get("Retry-After", "")
        except TimeoutError as error:
            raise Unavailable(f"{self._base}{request.path} did not answer in time ({_reason(error)})") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"cannot reach {self._base}{request.path}: {_reason(error)}") from error
        recv_ns = self._clock.wall_ns()
        retry_after_s = float(retry_after) if retry_after.isdecimal() else None
        try:
            result = rest.result(status, body, retry_after_s=retry_after_s, now_s=recv_ns / 1e9)
        except RateLimited as error:
            self._pace.throttled(self._clock.monotonic(), retry_after_s=error.retry_after_s)
            raise
        except Forbidden:
            self._pace.throttled(self._clock.monotonic(), retry_after_s=FORBIDDEN_PAUSE_S)
            raise
        self._pace.answered(self._clock.monotonic())
        return Answer(recv_ns, body, result)

    async def _turn(self) -> None:
        """Wait for a place, first come, first served; a pause that begins meanwhile is waited out too."""
        async with self._turns:
            while (delay_s := self._pace.claim(self._clock.monotonic())) > 0:
                await self._clock.sleep(delay_s)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise Unavailable(f"{response.url.path} answered more than {MAX_BODY} bytes; no answer is so long")
        return bytes(body)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
