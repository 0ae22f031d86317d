"""The REST client: paced, with timeouts and an honest User-Agent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from recorder.clock import Clock
from recorder.config import NO_PROXY, is_local
from recorder.core.safe_text import without_credentials
from recorder.core.throttling import FORBIDDEN_PAUSE_S, Pace, Paces
from recorder.errors import ExchangeError, Forbidden, Malformed, RateLimited, Unavailable
from recorder.kraken import rest_api
from recorder.net.rate_limit import SharedRateLimit
from recorder.version import __version__

USER_AGENT: Final = f"kraken-recorder/{__version__} (market data archive; aiohttp)"
"""Requests without a descriptive agent have been answered 403 (API.md 2)."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0, connect=10.0)
MAX_BODY: Final = 64 * 1024 * 1024
"""Maximum bytes of one answer. The largest real one, the whole listing, is below one million."""
LOCATION_LIMIT: Final = 200
"""Maximum characters of an address in a message; a redirect may name one of any length."""

Scope: TypeAlias = Literal["path", "rest", "all"]
"""What a pause stops: requests to one path, all requests, or these and new connections."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A successful answer: when it came (ns by the wall clock), its whole body, and the ``result`` within.

    ``date_s`` is the server's time, in whole seconds since 1970; None if the answer does not contain it. ``sent_ns`` is
    when the request was sent, by the same clock as ``recv_ns``.
    """

    recv_ns: int
    body: bytes
    result: bytes
    date_s: int | None = None
    sent_ns: int | None = None


class OnRefusal(Protocol):
    """Callback for each refusal: its reason, path and scope, the length of the pause, and the pace after it."""

    async def __call__(self, *, reason: str, path: str, scope: Scope, pause_s: float, per_s: float) -> None:
        """Record the refusal; the refused request waits for this call."""
        ...


class OnEnd(Protocol):
    """Callback for the end of each request that was sent: an answer or an error."""

    def __call__(self, request: rest_api.Request, ended: HttpAnswer | ExchangeError, /) -> None:
        """Record the end, without waiting."""
        ...


def _nothing(_request: rest_api.Request, _ended: HttpAnswer | ExchangeError) -> None:
    """Do nothing."""


async def _nobody(*, reason: str, path: str, scope: Scope, pause_s: float, per_s: float) -> None:
    """Do nothing."""


class ConnectionBroken(aiohttp.ClientConnectionError):
    """A connection that ended before an answer came."""


class Redirected(aiohttp.ClientError):
    """A redirect, with the headers of its answer."""

    def __init__(self, status: int, location: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"HTTP {status}, a redirect to {location[:LOCATION_LIMIT] or 'nowhere'}, is not followed")
        self.headers = headers


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once, and only to its address.

    aiohttp would repeat it by itself after a reset, and follow a redirect, both unpaced and uncounted. It does neither
    after an exception of a type that it does not handle.
    """
    try:
        response = await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionBroken(reason(error)) from error
    if 300 <= response.status < 400:
        response.close()
        raise Redirected(response.status, response.headers.get("Location", ""), response.headers)
    return response


def proxy_for(url: str, setting: str | None) -> str | None:
    """Return the proxy for ``url``: ``setting``, or, if that is None, the proxy of the environment.

    HTTPS_PROXY, HTTP_PROXY and NO_PROXY count in either case, and for wss:// and ws:// alike. This machine is never
    reached by a proxy of the environment: the sandbox is here, and a proxy elsewhere would look for it there.
    """
    if setting is not None:
        return None if setting == NO_PROXY else setting
    target = urlsplit(url)
    host, scheme = target.hostname or "", target.scheme.replace("ws", "http", 1)
    if is_local(host) or proxy_bypass(host):
        return None
    named = getproxies().get(scheme)
    return named if named is None or "://" in named else f"http://{named}"


def client_session(proxy: str | None = None) -> aiohttp.ClientSession:
    """Return a session for both REST and WebSocket, by way of ``proxy``.

    TLS certificates are verified, aiohttp's default, against the file in SSL_CERT_FILE if it is set.
    """
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_connected)
    return aiohttp.ClientSession(
        headers={"User-Agent": USER_AGENT}, proxy=proxy, timeout=TIMEOUT, trace_configs=[trace], middlewares=[_once]
    )


async def _connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    """Make a request wait after it has connected: connecting takes a while, in which a pause may begin."""
    if context.trace_request_ctx is not None:
        await context.trace_request_ctx()


class Http:
    """GETs public endpoints below ``base_url``, one after the other at the given pace.

    ``client`` comes from :func:`client_session`; ``refused`` is called once for each pause that begins; ``ended`` for
    each request; ``rate_limit`` is shared with other processes that keep to the same pace.
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
        rate_limit: SharedRateLimit | None = None,
    ) -> None:
        self._client = client
        self._base = base_url.rstrip("/")
        self._paces = Paces(pace)
        self._shown = without_credentials(self._base)
        self._clock = clock
        self._refused = refused
        self._ended = ended
        self._shared = rate_limit
        self._refusals = 0
        self._one_at_a_time = asyncio.Lock()

    async def get(self, request: rest_api.Request) -> HttpAnswer:
        """Wait for this request's turn, send it, and return the answer.

        Raises the ExchangeError whose type determines the retry. Throttling stops all requests of this client; a
        refusal by the edge stops those to the same path, and all of them if it has refused another path within a
        minute.
        """
        await self._turn(request.path)
        try:
            answer = await self._sent(request)
        except ExchangeError as error:
            self._ended(request, error)
            raise
        self._ended(request, answer)
        return answer

    async def pause(self, pause_s: float, *, reason: str, path: str) -> None:
        """Send nothing for ``pause_s`` seconds: the edge refused ``path``, which is not one of REST."""
        self._refusals += 1
        self._paces.whole.pause(self._clock.monotonic(), pause_s)
        if self._shared is not None:
            self._shared.pause(pause_s)
        await self._tell(reason, path, "all", pause_s)

    def paused_s(self) -> float:
        """Return the remaining seconds of the longest present pause; 0 if there is none."""
        return self._paces.paused_s(self._clock.monotonic())

    async def _sent(self, request: rest_api.Request) -> HttpAnswer:
        refusals, sent_ns = self._refusals, self._clock.wall_ns()

        async def connected() -> None:
            if self._refusals != refusals:
                await self._turn(request.path)

        url = URL(self._base + request.target, encoded=True)
        try:
            async with self._client.get(url, trace_request_ctx=connected) as response:
                body = await whole_body(response)
                status, headers = response.status, response.headers
        except TimeoutError as error:
            raise Unavailable(f"{self._shown}{request.path} did not answer in time ({reason(error)})") from error
        except Redirected as error:
            text = f"{self._shown}{request.path} answered {error}: check exchange.rest_url"
            refusal = Unavailable(text, wanted_s(error.headers, self._clock.wall_ns()))
            await self._pause(request, refusal)
            raise refusal from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"cannot reach {self._shown}{request.path}: {reason(error)}") from error
        recv_ns, date_s = self._clock.wall_ns(), rest_api.seconds(headers.get("Date"))
        try:
            # A refusal that contains the time of its end uses the server's clock.
            now_s = recv_ns / 1e9 if date_s is None else date_s
            result = rest_api.result(status, body, retry_after_s=wanted_s(headers, recv_ns), now_s=now_s)
        except ExchangeError as error:
            await self._pause(request, error, by_edge=status != 200)
            if isinstance(error, Malformed):
                error.body = body
            raise
        self._paces.answered(request.path, self._clock.monotonic())
        return HttpAnswer(recv_ns, body, result, date_s, sent_ns)

    async def _turn(self, path: str) -> None:
        """Wait for a turn, first come, first served, and for any pause that begins meanwhile.

        While a path is paused by itself, requests to it let the others pass.
        """
        while True:
            while (delay_s := self._path_wait_s(path)) > 0:
                await self._clock.sleep(delay_s)
            async with self._one_at_a_time:
                while (delay_s := self._paces.whole.wait_s(self._clock.monotonic())) > 0:
                    await self._clock.sleep(delay_s)
                if self._path_wait_s(path) > 0:
                    continue
                while (delay_s := self._claim_shared()) > 0:
                    await self._clock.sleep(delay_s)
                if self._paces.claim(path, self._clock.monotonic()) == 0:
                    return

    def _path_wait_s(self, path: str) -> float:
        own_s = self._paces.path_wait_s(path, self._clock.monotonic())
        return max(own_s, self._shared.of(_name(path)).paused_s()) if self._shared else own_s

    def _claim_shared(self) -> float:
        return self._shared.claim(1 / self._paces.whole.per_s) if self._shared else 0.0

    async def _pause(self, request: rest_api.Request, error: ExchangeError, *, by_edge: bool = True) -> None:
        """Apply the pause that ``error`` requires at once, then report it; do nothing if it requires none."""
        now_s, path, wanted_s = self._clock.monotonic(), request.path, error.retry_after_s
        scope: Scope = "path"
        if isinstance(error, RateLimited) and not by_edge:
            pause_s, scope = self._paces.whole.throttled(now_s, retry_after_s=wanted_s), "rest"
        elif isinstance(error, RateLimited | Forbidden):
            if isinstance(error, Forbidden) and wanted_s is None:
                wanted_s = FORBIDDEN_PAUSE_S
            pause_s, whole = self._paces.refused(path, now_s, retry_after_s=wanted_s)
            scope = "rest" if whole else "path"
        elif wanted_s:
            pause_s = self._paces.pause(path, now_s, wanted_s)
        else:
            return
        self._refusals += 1
        error.retry_after_s = pause_s
        if self._shared is not None:
            (self._shared if scope == "rest" else self._shared.of(_name(path))).pause(pause_s)
        await self._tell(str(error), path, scope, pause_s)

    async def _tell(self, reason: str, path: str, scope: Scope, pause_s: float) -> None:
        per_s = round(self._paces.per_s(path), 6)
        await self._refused(reason=reason, path=path, scope=scope, pause_s=round(pause_s, 3), per_s=per_s)


async def whole_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer. Raises Unavailable if it is longer than any."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise Unavailable(f"{response.url.path} answered more than {MAX_BODY} bytes; no answer is so long")
    return bytes(body)


def wanted_s(headers: Mapping[str, str], now_ns: int) -> float | None:
    """Return the seconds of silence that a server requests in an answer at ``now_ns``; None if it requests none.

    A date is relative to the server's own clock, if the answer contains its time.
    """
    date_s = rest_api.seconds(headers.get("Date"))
    return rest_api.retry_after_s(headers.get("Retry-After"), now_ns / 1e9 if date_s is None else date_s)


def _name(path: str) -> str:
    """Return the last part of a path: the endpoint."""
    return path.rpartition("/")[2]


def reason(error: BaseException) -> str:
    """Return why a connection failed, in the system's own words if available: aiohttp repeats the address first."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {error.status}, {error.message}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"no proxy answers at {error.host}:{error.port}"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionError) and cause.errno:
        return os.strerror(cause.errno)
    return without_credentials(str(getattr(cause, "strerror", None) or cause)) or type(error).__name__
