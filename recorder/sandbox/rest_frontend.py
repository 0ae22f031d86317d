"""The simulated gateway (CDN) in front of REST: what happens to a request before its answer.

Contains the log, the refusals, the throttle, and the application of faults. Does not know the answer. Every answer of
the exchange itself has HTTP 200; all other statuses come from here, with HTML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from recorder.clock import Clock
from recorder.sandbox.fault_schedule import Faults
from recorder.sandbox.request_log import LoggedRequest, RequestLog
from recorder.sandbox.rest import UNKNOWN_METHOD, failure
from recorder.sandbox.rest_faults import ERRORS, HANDSHAKE, PAGES, RestFault, error_text, page_text
from recorder.sandbox.throttle import Throttle

CACHED_S: Final = 2.0
"""How long an answer may be repeated: ``max-age=2`` was seen (API.md 2)."""

HIT: Final = {"CF-Cache-Status": "HIT"}
"""The header of a repeated answer."""

_LAST: Final = re.compile(r',"last":"?\d+"?(?=\}\}$)')


class RestFrontend:
    """The handling of every request. ``answer`` maps a method and its query to a body."""

    def __init__(
        self,
        clock: Clock,
        *,
        faults: Faults,
        requests: RequestLog,
        answer: Callable[[str, Mapping[str, str]], str],
    ) -> None:
        self.throttle: Throttle | None = None
        """The limit; None throttles no client."""
        self._clock = clock
        self._faults = faults
        self._requests = requests
        self._answer = answer
        self._cache: dict[str, tuple[float, str]] = {}

    def closed_answer(self, request: web.Request) -> web.Response | None:
        """Return the refusal of a request while connections are refused."""
        if not self._faults.refusing:
            return None
        self.log(request, 503, fault="refuse")
        return _page("http_503")

    def refused_handshake(self, request: web.Request) -> web.Response | None:
        """Return the refusal of a handshake, None if it is accepted."""
        struck = self._faults.rest.strike(HANDSHAKE)
        if not struck:
            return None
        self.log(request, PAGES[struck[-1].name][0], fault=struck[-1].name)
        return self._replaced(struck[-1])

    def log(self, request: web.Request, status: int, *, fault: str = "") -> None:
        """Log a request that arrives now."""
        at_s, time_ns = self._clock.monotonic(), self._clock.wall_ns()
        # Unparsed: a parsed query would hide what a client does and does not encode.
        query = request.raw_path.partition("?")[2]
        self._requests.add(LoggedRequest(at_s, time_ns, request.method, request.path, query, status, fault))

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer one REST request, or apply its faults."""
        return await self.respond_by(request, lambda: self._right(request))

    async def respond_by(self, request: web.Request, answer: Callable[[], str]) -> web.StreamResponse:
        """Answer one REST request with what ``answer`` returns, or apply its faults."""
        client = request.remote or ""
        if self.throttle is not None and not self.throttle.allows(client):
            return self._refuse(request, self.throttle, client)
        struck = self._faults.rest.strike(request.path)
        replacing = next((mishap for mishap in reversed(struck) if mishap.replaces), None)
        status = PAGES[replacing.name][0] if replacing is not None and replacing.name in PAGES else 200
        self.log(request, status, fault="+".join(mishap.name for mishap in struck))
        for mishap in struck:
            if mishap.name == "slow":
                await self._clock.sleep(mishap.delay_s)
        if replacing is not None:
            return self._replaced(replacing)
        return await self._damaged(request, struck, answer)

    def _replaced(self, mishap: RestFault) -> web.Response:
        headers = mishap.beside.headers(self._clock.wall_ns() / 1e9)
        if mishap.name in PAGES:
            return _page(mishap.name, headers)
        return _body(failure(self._faults.rest.error_of(mishap)), headers)

    async def _damaged(
        self, request: web.Request, struck: list[RestFault], answer: Callable[[], str]
    ) -> web.StreamResponse:
        names = {mishap.name for mishap in struck}
        repeated = self._repeated(request.raw_path) if "cached" in names else None
        text = repeated if repeated is not None else answer()
        if "cached" in names and repeated is None:
            self._cache[request.raw_path] = (self._clock.monotonic(), text)
        if "no_last" in names:
            text = _LAST.sub("", text)
        if "cut" in names:
            return await _cut(request, text)
        return _body(text[: len(text) // 2] if "truncated" in names else text, None if repeated is None else HIT)

    def _right(self, request: web.Request) -> str:
        method = request.match_info.get("method")
        return failure(UNKNOWN_METHOD) if method is None else self._answer(method, request.query)

    def _repeated(self, url: str) -> str | None:
        """Return the body given to this URL less than :data:`CACHED_S` ago; forget all older ones."""
        now_s = self._clock.monotonic()
        self._cache = {known: given for known, given in self._cache.items() if now_s - given[0] < CACHED_S}
        return self._cache[url][1] if url in self._cache else None

    def _refuse(self, request: web.Request, throttle: Throttle, client: str) -> web.Response:
        if throttle.form in PAGES:
            self.log(request, PAGES[throttle.form][0], fault="throttle")
            return _page(throttle.form)
        assert throttle.form in ERRORS, "a refusal is a page or an error"
        self.log(request, 200, fault="throttle")
        ahead_s = throttle.free_at_s(client) - self._clock.monotonic()
        return _body(failure(error_text(throttle.form, until_s=self._clock.wall_ns() / 1e9 + ahead_s)))


async def _cut(request: web.Request, text: str) -> web.StreamResponse:
    """Send half of the announced length, and hang up."""
    body = text.encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _page(name: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=PAGES[name][0], text=page_text(name), content_type="text/html", headers=headers)


def _body(text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(text=text, content_type="application/json", headers=headers)
