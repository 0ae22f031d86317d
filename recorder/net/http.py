"""The one REST client: paced, timed out, and honest about who calls."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Final, Protocol

import aiohttp
from yarl import URL

from recorder.clock import Clock
from recorder.core.pacing import Pace
from recorder.core.shown import without_credentials
from recorder.errors import ExchangeError, Forbidden, Malformed, RateLimited, Unavailable
from recorder.kraken import rest
from recorder.net.turns import Turns
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
    """A good answer: when it came (ns by the wall clock), its whole body, and the ``result`` within.

    ``date_s`` is what time the server says it is, in whole seconds since 1970; None where it does not say. ``sent_ns``
    is when it was asked for, by the same clock as ``recv_ns``.
    """

    recv_ns: int
    body: bytes
    result: bytes
    date_s: int | None = None
    sent_ns: int | None = None


class OnRefusal(Protocol):
    """Who is told of each refusal: why, of which path, how long nothing is sent, and the pace after that."""

    async def __call__(self, *, reason: str, path: str, pause_s: float, per_s: float) -> None:
        """Take note; whoever asked waits for it."""
        ...


class OnEnd(Protocol):
    """Who is told how each request that was sent has ended: with an answer, or with an error."""

    def __call__(self, request: rest.Request, ended: Answer | ExchangeError, /) -> None:
        """Take note, at once."""
        ...


def _nothing(_request: rest.Request, _ended: Answer | ExchangeError) -> None:
    """Take no note."""


async def _nobody(*, reason: str, path: str, pause_s: float, per_s: float) -> None:
    """Take no note."""


def client_session() -> aiohttp.ClientSession:
    """Return a session for REST and WebSocket alike. TLS certificates are verified, as aiohttp does by default."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_connected)
    return aiohttp.ClientSession(headers={"User-Agent": USER_AGENT}, timeout=TIMEOUT, trace_configs=[trace])


async def _connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    """Let a request wait that has its connection now: connecting takes a while, in which a pause may begin."""
    if context.trace_request_ctx is not None:
        await context.trace_request_ctx()


class Http:
    """GETs public endpoints below ``base_url``, starting one after the other at the pace given.

    ``client`` comes from :func:`client_session`; ``refused`` is told once of each throttle and each 403; ``ended``
    of each request; ``turns`` are shared with other processes that keep to the same pace.
    """

    def __init__(
        self,
        client: aiohttp.ClientSession,
        base_url: str,
        *,
        pace: Pace,
        clock: Clock,
        refused: OnRefusal = _nobody,
        ended: OnEnd = _nothing,
        turns: Turns | None = None,
    ) -> None:
        self._client = client
        self._base = base_url.rstrip("/")
        self._shown = without_credentials(self._base)
        self._pace = pace
        self._clock = clock
        self._refused = refused
        self._ended = ended
        self._shared = turns
        self._refusals = 0
        self._turns = asyncio.Lock()

    async def get(self, request: rest.Request) -> Answer:
        """Wait for this request's turn, send it, and return the answer.

        Raises ExchangeError of the kind that says what to do next. Throttling stops all requests of this client.
        """
        await self._turn()
        try:
            answer = await self._sent(request)
        except ExchangeError as error:
            self._ended(request, error)
            raise
        self._ended(request, answer)
        return answer

    async def _sent(self, request: rest.Request) -> Answer:
        refusals, sent_ns = self._refusals, self._clock.wall_ns()

        async def connected() -> None:
            if self._refusals != refusals:
                await self._turn()

        url = URL(self._base + request.target, encoded=True)
        try:
            async with self._client.get(url, trace_request_ctx=connected) as response:
                body = await self._body(response)
                status, retry_after = response.status, response.headers.get("Retry-After", "")
                date_s = _seconds(response.headers.get("Date"))
        except TimeoutError as error:
            raise Unavailable(f"{self._shown}{request.path} did not answer in time ({reason(error)})") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"cannot reach {self._shown}{request.path}: {reason(error)}") from error
        recv_ns = self._clock.wall_ns()
        retry_after_s = float(retry_after) if retry_after.isdecimal() else None
        try:
            # A refusal that names the moment of its end names it by the server's clock.
            now_s = recv_ns / 1e9 if date_s is None else date_s
            result = rest.result(status, body, retry_after_s=retry_after_s, now_s=now_s)
        except RateLimited as error:
            await self._pause(request, error, error.retry_after_s)
            raise
        except Forbidden as error:
            await self._pause(request, error, FORBIDDEN_PAUSE_S)
            raise
        except Malformed as error:
            error.body = body
            raise
        self._pace.answered(self._clock.monotonic())
        return Answer(recv_ns, body, result, date_s, sent_ns)

    async def _turn(self) -> None:
        """Wait for a place, first come, first served; a pause that begins meanwhile is waited out too."""
        async with self._turns:
            while (delay_s := self._pace.claim(self._clock.monotonic())) > 0:
                await self._clock.sleep(delay_s)
            while (delay_s := self._claim_shared()) > 0:
                await self._clock.sleep(delay_s)

    def _claim_shared(self) -> float:
        return self._shared.claim(1 / self._pace.per_s) if self._shared else 0.0

    async def _pause(self, request: rest.Request, error: ExchangeError, wanted_s: float | None) -> None:
        """Stop all requests at once, and then tell."""
        self._refusals += 1
        pause_s = self._pace.throttled(self._clock.monotonic(), retry_after_s=wanted_s)
        if self._shared is not None:
            self._shared.pause(pause_s)
        await self._refused(
            reason=str(error), path=request.path, pause_s=round(pause_s, 3), per_s=round(self._pace.per_s, 6)
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise Unavailable(f"{response.url.path} answered more than {MAX_BODY} bytes; no answer is so long")
        return bytes(body)


def _seconds(date: str | None) -> int | None:
    try:
        return None if date is None else int(parsedate_to_datetime(date).timestamp())
    except ValueError:
        return None


def reason(error: BaseException) -> str:
    """Say why a connection failed, in the system's own words where it has some: aiohttp repeats the address first."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return without_credentials(str(getattr(cause, "strerror", None) or cause)) or type(error).__name__
