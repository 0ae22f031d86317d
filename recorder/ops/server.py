"""The daemon's small web server: health, readiness and metrics, and the page as an extension.

It serves this machine alone, unless it is configured to be exposed, and then only requests with the token. The three
fixed paths take no input, and requests are limited in size, time and number.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiohttp import web

from recorder.config import OpsConfig
from recorder.errors import ConfigError
from recorder.ops import health
from recorder.ops.health import HealthState
from recorder.ops.metrics import Metrics

CONNECTIONS: Final = 16
"""Limit of open connections: a few scrapers, and people."""
CONNECTION_S: Final = 10.0
"""Limit of a connection's duration, whatever it does; an answer takes milliseconds, and ends its connection."""
LINE_BYTES: Final = 4096
"""Longest request line or header; Prometheus sends some 300 bytes in all."""
HEADERS: Final = 64
_HOST: Final = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>\d{0,5}))?", re.ASCII
)
_LAST_PORT: Final = 65_535
HEALTH: Final = "/health"
READY: Final = "/ready"
METRICS: Final = "/metrics"
SERVER: Final = "kraken-recorder"
"""The name sent with each answer, without the versions of the libraries."""
_SAFE: Final = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": SERVER,
    "X-Content-Type-Options": "nosniff",
}
_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"

log = structlog.get_logger()

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the number of connections, and of their duration (seconds)."""

    connections: int = CONNECTIONS
    connection_s: float = CONNECTION_S


_DURATIONS: Final = web.AppKey("durations", dict[web.RequestHandler, float])


def lengthen(request: web.Request, duration_s: float) -> None:
    """Let the connection of a request last this long, in place of the usual limit."""
    assert isinstance(request.protocol, web.RequestHandler)
    request.app[_DURATIONS][request.protocol] = duration_s


class Extension(Protocol):
    """More addresses, which judge for themselves who may use them."""

    @property
    def is_open(self) -> bool:
        """Whether they need no token: then only this machine may ask, by a name that always means it."""
        ...

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        """Return the addresses."""
        ...

    def refusal(self, request: web.Request) -> web.Response | None:
        """Return the response to a request that is refused; None if it is not."""
        ...


@dataclass(frozen=True, slots=True)
class Face:
    """Content of the pages: the metrics, the current state, and other current facts about this daemon."""

    metrics: Metrics
    state: Callable[[], HealthState]
    about: Callable[[], Mapping[str, object]]


@contextlib.asynccontextmanager
async def serve(
    ops: OpsConfig, face: Face | None, limits: Limits | None = None, *, more: Extension | None = None
) -> AsyncIterator[None]:
    """Serve /health, /ready and /metrics, unless ``face`` is None, and ``more`` while the context lasts.

    Port 0 serves nothing.

    Raises ConfigError if the address cannot be used, or must not be.
    """
    if ops.port == 0:
        yield
        return
    limits = limits or Limits()
    addresses = await _addresses(ops)
    local = _local(ops, addresses)
    silent = logging.getLogger("recorder.ops.server.http")
    silent.disabled = True  # it would quote unreadable requests, which may contain a token
    app = _Site(ops, face, more, local=local).application()
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=silent,
        max_line_size=LINE_BYTES,
        max_field_size=LINE_BYTES,
        max_headers=HEADERS,
        read_bufsize=LINE_BYTES,
        lingering_time=0.0,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    sweeping = None
    try:
        requests = runner.server
        assert requests is not None
        listener = await _listen(ops, addresses, requests, limits)
        sweeping = asyncio.create_task(_sweep(requests, limits.connection_s, app[_DURATIONS]))
        yield
    finally:
        if sweeping is not None:
            listener.close()
            sweeping.cancel()
        await runner.cleanup()


async def _listen(ops: OpsConfig, addresses: list[str], requests: web.Server, limits: Limits) -> asyncio.Server:
    def accept() -> asyncio.Protocol:
        return requests() if len(requests.connections) < limits.connections else _Busy()

    try:
        return await asyncio.get_running_loop().create_server(accept, addresses, ops.port)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(ops, error) from error


class _Busy(asyncio.Protocol):
    """Rejects a connection when there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_BUSY)
        transport.close()


async def _sweep(requests: web.Server, longest_s: float, durations: dict[web.RequestHandler, float]) -> None:
    """End connections that have lasted too long, whatever they wait for; some have limits of their own."""
    loop = asyncio.get_running_loop()
    since_s: dict[web.RequestHandler, float] = {}
    while True:
        await asyncio.sleep(longest_s / 4)
        now_s = loop.time()
        since_s = {one: since_s.get(one, now_s) for one in requests.connections}
        for one in durations.keys() - since_s.keys():
            del durations[one]
        for one, first_s in since_s.items():
            if now_s - first_s >= durations.get(one, longest_s) and one.transport is not None:
                one.transport.abort()


async def _addresses(ops: OpsConfig) -> list[str]:
    """Return the addresses of ``ops.host``, resolved once: those checked are those listened on."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(ops.host, ops.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(ops, error) from error
    return sorted({str(address[4][0]) for address in found})


def _local(ops: OpsConfig, addresses: list[str]) -> bool:
    """Return whether only this machine can reach the server. Raises ConfigError if others could, but should not."""
    if all(map(_is_loopback, addresses)):
        return True
    if not ops.expose:
        raise ConfigError(
            f"ops.host is {ops.host}, which other machines can reach: write 127.0.0.1, or set ops.expose to true and "
            "ops.token to a secret"
        )
    if ops.token is None:
        raise ConfigError(
            f"ops.host is {ops.host} and ops.expose is true, but ops.token is not set: write a secret, best as the "
            "environment variable RECORDER_OPS__TOKEN"
        )
    return False


def _cannot_listen(ops: OpsConfig, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(
        f"ops.port is {ops.port}: cannot listen on {ops.host}:{ops.port} ({reason}); choose another, or 0 for none"
    )


def _is_loopback(host: object) -> bool:
    """Return whether an address, or the one name that always means it, is a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


class _Site:
    """The three pages, the extension, and the checks before them."""

    def __init__(self, ops: OpsConfig, face: Face | None, more: Extension | None, *, local: bool) -> None:
        self._token = ops.token
        self._face = face
        self._more = more
        self._local = local

    def application(self) -> web.Application:
        """Return the application, ready to be served."""
        app = web.Application(middlewares=[self._guarded], client_max_size=LINE_BYTES)
        app.on_response_prepare.append(_prepare)
        app[_DURATIONS] = {}
        if self._face is not None:
            pages = _Pages(self._face)
            served = {HEALTH: pages.health, READY: pages.ready, METRICS: pages.metrics}
            app.add_routes([web.get(path, page) for path, page in served.items()])
        if self._more is not None:
            app.add_routes(self._more.routes())
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"{error.reason}\n")
        # Each gauge calls a part of the daemon, so any error is possible; aiohttp would not report it here.
        except Exception as error:  # noqa: BLE001 -- hide it from the client, but log it
            log.error("the status server failed", path=request.path, error=type(error).__name__, reason=str(error))
            return web.Response(status=500, text="see the log\n")

    def _refusal(self, request: web.Request) -> web.Response | None:
        host = _host(request.headers.getall("Host", []))
        if host is None:
            return web.Response(status=400, text="a Host header is a name or an address, and maybe a port\n")
        if self._more is not None and request.path not in {HEALTH, READY, METRICS}:
            if self._more.is_open and not _is_loopback(host):
                return _misdirected()
            return self._more.refusal(request)
        if self._token is not None:
            if request.path != HEALTH and not _knows(request, self._token.get_secret_value()):
                return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        elif self._local and not _is_loopback(host):
            return _misdirected()
        return None


class _Pages:
    """The three pages."""

    def __init__(self, face: Face) -> None:
        self._face = face

    async def health(self, _: web.Request) -> web.Response:
        """Answer every client, because supervisors have no token. Therefore the answer is only one word."""
        dead = health.dead(self._face.state())
        return _json({"status": "stuck" if dead else "alive"}, good=not dead)

    async def ready(self, _: web.Request) -> web.Response:
        """Answer whether it records, with the reasons if it does not."""
        state = self._face.state()
        reasons = [*health.dead(state), *health.not_ready(state)]
        status = "not recording" if reasons else "recording"
        return _json({"status": status, "reasons": reasons, **self._face.about()}, good=not reasons)

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer with all metrics."""
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=self._face.metrics.text(), headers={"Content-Type": content_type})


def _misdirected() -> web.Response:
    """Refuse a foreign name for this machine: it may be that of a page whose name is made to resolve to it."""
    return web.Response(status=421, text="ask for this server by the name localhost\n")


def _host(headers: Sequence[str]) -> str | None:
    """Return the host in the Host headers of a request, "" if there are none; None if they are invalid.

    Not parsed with aiohttp's URL, which raises at a port or a name that is too long, and decodes percent-encoding.
    """
    if not headers:  # HTTP 1.0, as some service monitors use it
        return ""
    found = _HOST.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        return None
    return found["address"] or found["name"]


async def _prepare(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _SAFE.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = _SAFE["Server"]
    response.force_close()  # one request per connection, so that idle clients hold none open


def _knows(request: web.Request, token: str) -> bool:
    """Return whether the request carries the token, in constant time."""
    header = request.headers.get("Authorization", "")
    return hmac.compare_digest(header.encode("utf-8", "replace"), f"Bearer {token}".encode())


def _json(content: Mapping[str, object], *, good: bool) -> web.Response:
    return web.Response(
        status=200 if good else 503, text=json.dumps(content) + "\n", content_type="application/json", charset="utf-8"
    )
