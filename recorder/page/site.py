"""The page: its addresses, and the checks before them. What needs the archive is handed on to the reader.

Part of the status server, whose limits of requests apply; only streams and downloads may last longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog
from aiohttp import web
from yarl import URL

from recorder.clock import Clock
from recorder.ops.server import lengthen
from recorder.page import access, paths, static_files, templates
from recorder.page.access import COOKIE, Access
from recorder.page.live_overview import VIEWERS, LiveOverview
from recorder.page.overview import Source
from recorder.page.reader_process import NoAnswer, ReaderProcess

OVERVIEW: Final = "/"
LIVE: Final = "/live"
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
OPENAPI: Final = f"{paths.API}/openapi.json"
CONNECTIONS: Final = 128
"""Open connections: some browsers, streams, and scrapers."""
BODY_BYTES: Final = 64 * 1024
SLOW_S: Final = 10.0
"""A client that takes nothing for this long is dropped."""
DOWNLOAD_S: Final = 120.0
"""Time of a request that the reader answers, the transfer included."""
FOREVER_S: Final = float("inf")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HANDED_ON: Final = ("Accept", "Last-Event-ID", "Content-Type")
_HANDED_BACK: Final = ("Content-Type", "Content-Disposition", "Completeness", "Content-Length")
_JSON: Final = "application/json"

log = structlog.get_logger()


class Page:
    """The page over a source of the overview, and over the reader of the same archive."""

    def __init__(self, source: Source, reader: ReaderProcess, guard: Access, clock: Clock) -> None:
        self._reader = reader
        self._access = guard
        self._clock = clock
        self._live = LiveOverview(source, self._past, clock, lambda: reader.state)

    @property
    def is_open(self) -> bool:
        """See :class:`recorder.ops.server.Extension`."""
        return self._access.is_open

    def routes(self) -> list[web.RouteDef]:
        """See :class:`recorder.ops.server.Extension`."""
        handed_on = (f"{paths.API}/{{rest:.+}}", f"{paths.PAIR}{{rest:.+}}", paths.ASK, f"{paths.ASK}/{{name}}")
        return [
            web.get(OVERVIEW, self._overview),
            web.get(LIVE, self._stream),
            web.get(f"{static_files.FOLDER}{{name}}", self._static),
            web.get(OPENAPI, self._static),
            web.get(LOGIN, self._login_form),
            web.post(LOGIN, self._login),
            web.post(LOGOUT, self._logout),
            web.post(paths.QUERY, self._hand_on),
            web.post(paths.ASK, self._hand_on),
            *(web.get(path, self._hand_on) for path in (*handed_on, paths.EVENTS, paths.CERTIFICATES)),
        ]

    def refusal(self, request: web.Request) -> web.Response | None:
        """See :class:`recorder.ops.server.Extension`."""
        if reason := access.foreign(request.headers, request.method, request.headers.get("Host", "")):
            return _problem(request, 403, reason)
        form = request.path in {LOGIN, LOGOUT}
        if request.method == "POST" and not form and request.content_type != _JSON:
            return _problem(request, 415, f"a query is sent as {_JSON}")
        if request.path == LOGIN or request.path.startswith(static_files.FOLDER) or self._knows(request):
            return None
        if request.path.startswith(paths.API) or request.path == LIVE:
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.Response(status=303, headers={"Location": LOGIN})

    async def close(self) -> None:
        """End what runs for viewers."""
        await self._live.close()

    def _knows(self, request: web.Request) -> bool:
        authorization, cookie = request.headers.get("Authorization", ""), request.cookies.get(COOKIE, "")
        return self._access.allows(authorization, cookie, self._clock.monotonic())

    async def _past(self) -> Mapping[str, Any]:
        async with self._reader.request("GET", URL(paths.HISTORY)) as response:
            found: dict[str, Any] = await response.json()
            if response.status != 200:
                raise NoAnswer(found["error"])
            return found

    async def _overview(self, _: web.Request) -> web.Response:
        return _html(await self._live.page(login=not self._access.is_open))

    async def _static(self, request: web.Request) -> web.Response:
        found = static_files.static_file(request.match_info.get("name", "openapi.json"))
        if found is None:
            return _problem(request, 404, "there is no such file")
        headers = {
            "ETag": found.etag,
            "Cache-Control": "no-cache",
            "Content-Type": f"{found.content_type}; charset=utf-8",
        }
        if request.headers.get("If-None-Match") == found.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=found.content, headers=headers)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._live.viewers >= VIEWERS:
            return _problem(request, 503, f"{VIEWERS} pages are open already")
        lengthen(request, FOREVER_S)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with self._live.watched() as messages:
            while (message := await messages.get()) is not None:
                if not await _sent(response, message, request):
                    break
        return response

    async def _login_form(self, request: web.Request) -> web.Response:
        return _html(templates.rendered("login.html", problem=None)) if not self._knows(request) else _to(OVERVIEW)

    async def _login(self, request: web.Request) -> web.Response:
        now_s = self._clock.monotonic()
        if wait_s := self._access.wait_s(now_s):
            text = templates.rendered("login.html", problem=f"too many attempts: try again in {wait_s:.0f} s")
            return _html(text, status=429)
        form = await request.post()
        cookie = self._access.login(str(form.get("token", "")), now_s)
        if cookie is None:
            log.warning("a wrong token was sent to the page")
            return _html(templates.rendered("login.html", problem="that is not the token"), status=403)
        response = _to(OVERVIEW)
        response.set_cookie(COOKIE, cookie, max_age=int(access.SESSION_S), path="/", httponly=True, samesite="Strict")
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        self._access.logout(request.cookies.get(COOKIE, ""))
        response = _to(LOGIN)
        response.del_cookie(COOKIE)
        return response

    async def _hand_on(self, request: web.Request) -> web.StreamResponse:
        """Pass a request to the reader, and its answer back as fast as the client takes it."""
        lengthen(request, FOREVER_S if request.path == paths.STREAM else DOWNLOAD_S)
        body = await _body(request)
        if body is None:
            return _problem(request, 413, f"the body has more than {BODY_BYTES:,} bytes")
        headers = {name: request.headers[name] for name in _HANDED_ON if name in request.headers}
        try:
            async with self._reader.request(
                request.method, request.rel_url, headers=headers, body=body or None
            ) as found:
                answer = web.StreamResponse(
                    status=found.status,
                    headers={name: found.headers[name] for name in _HANDED_BACK if name in found.headers},
                )
                answer.headers.update(_headers())
                with _broken_off(request):
                    await answer.prepare(request)
                    async for piece in found.content.iter_any():
                        if not await _sent(answer, piece, request):
                            return answer
                    await answer.write_eof()
                return answer
        except NoAnswer as error:
            return _problem(request, 503, str(error))


@contextlib.contextmanager
def _broken_off(request: web.Request) -> Iterator[None]:
    """Cut the connection if the answer ends early, so that nobody takes a part of it for the whole."""
    try:
        yield
    except ConnectionError:  # the client has left
        pass
    except Exception as error:  # noqa: BLE001 -- of the reader, or of the client
        log.warning("an answer of the reader was cut", path=request.path, reason=str(error) or type(error).__name__)
        if request.transport is not None:
            request.transport.abort()


async def _sent(response: web.StreamResponse, piece: bytes, request: web.Request) -> bool:
    """Send a piece; return whether the client took it in time. If not, it is dropped."""
    try:
        await asyncio.wait_for(response.write(piece), SLOW_S)
    except (TimeoutError, ConnectionError) as error:
        if isinstance(error, TimeoutError):
            log.warning("a client was dropped: it took nothing", path=request.path, for_s=SLOW_S)
        if request.transport is not None:
            request.transport.abort()
        return False
    return True


async def _body(request: web.Request) -> bytes | None:
    """Return the body of a request; None if it is too long."""
    content = bytearray()
    async for piece in request.content.iter_any():
        content += piece
        if len(content) > BODY_BYTES:
            return None
    return bytes(content)


def _headers() -> dict[str, str]:
    return {"Content-Security-Policy": _POLICY}


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=_headers())


def _to(place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": place})


def _problem(request: web.Request, status: int, reason: str) -> web.Response:
    """Return why a request is not answered: as JSON to a program, as a page to a person."""
    if request.path.startswith(paths.API):
        return web.Response(status=status, text=json.dumps({"error": reason}), content_type=_JSON)
    return _html(templates.rendered("problem.html", problem=reason), status=status)
