"""Who may use the page, and what it withstands; without a reader, and without a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from recorder.config import OpsConfig
from recorder.ops.metrics import Metrics
from recorder.ops.server import Face, Limits, serve
from recorder.page.access import ATTEMPTS, Access
from recorder.page.live_overview import QUEUED, LiveOverview
from recorder.page.reader_process import NoAnswer
from recorder.page.site import Page
from tests.clocks import ManualClock, settle_until
from tests.ops.states import GOOD, TOKEN
from tests.page.parts import HOSTILE, Asleep, Source
from tests.servers import free_port


class Bench:
    """The page at a free port, and a client that keeps no cookies unless it is to."""

    def __init__(self, client: aiohttp.ClientSession, port: int, clock: ManualClock, source: Source) -> None:
        self.port, self.clock, self.source = port, clock, source
        self._client = client

    async def get(self, path: str, **options: Any) -> tuple[int, str, Any]:
        method = options.pop("method", "GET")
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)  # sent as it is
        async with self._client.request(method, url, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text(), answer.headers

    async def status(self, path: str, **options: Any) -> int:
        return (await self.get(path, **options))[0]


@asynccontextmanager
async def showing(token: str | None = None, limits: Limits | None = None) -> AsyncIterator[Bench]:
    port, clock, source = free_port(), ManualClock(), Source()
    page = Page(source, Asleep(), Access(token), clock)
    face = Face(Metrics(), lambda: GOOD, lambda: {"archive": "/data"})
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar) as client, serve(OpsConfig(port=port), face, limits, more=page):
        try:
            yield Bench(client, port, clock, source)
        finally:
            await page.close()


async def test_the_overview_needs_no_reader_and_names_are_never_markup() -> None:
    async with showing() as bench:
        status, text, headers = await bench.get("/")
        assert status == 200
        for shown in ("BTC/USD", "97,000.10", "1,234", "waiting", "hole opened", "no memory"):
            assert shown in text
        assert HOSTILE not in text
        assert "&lt;script&gt;" in text
        assert "<code>recorder verify" in text
        policy = headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "style=" not in text
        assert "<script>" not in text
        # What needs the reader says why it cannot be shown, and the rest goes on.
        status, text, _ = await bench.get("/pair/BTC/USD")
        assert (status, "the reader could not be begun: no memory" in text) == (503, True)
        status, text, _ = await bench.get("/api/v1/pairs")
        assert (status, json.loads(text)) == (503, {"error": "the reader could not be begun: no memory"})
        assert [await bench.status(path) for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]


async def test_requests_of_other_sites_are_refused() -> None:
    async with showing() as bench:
        own = f"http://127.0.0.1:{bench.port}"
        for headers, expected in (
            ({"Origin": own}, 200),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": f"http://127.0.0.1:{bench.port + 1}"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
            ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Host": "evil.example"}, 421),
            ({"Host": f"localhost:{bench.port}"}, 200),
        ):
            assert await bench.status("/", headers=headers) == expected, headers
        post: dict[str, Any] = {"method": "POST"}
        navigated = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        for path in ("/api/v1/query", "/ask"):
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                assert await bench.status(path, data=b"{}", headers={"Content-Type": kind}, **post) == 415
            assert await bench.status(path, json={}, headers={"Origin": "http://evil.example"}, **post) == 403
            assert await bench.status(path, json={}, **post) == 503  # the reader sleeps
            assert await bench.status(path, json={"sql": "x" * 70_000}, **post) == 413
            assert await bench.status(path, json={}, headers=navigated, **post) == 403


async def test_no_path_leads_out_of_the_list_of_files_and_files_are_sent_once() -> None:
    async with showing() as bench:
        for path in (
            "/static/../site.py", "/static/%2e%2e/site.py", "/static/..%2fsite.py", "/static//etc/passwd",
            "/static/page.js%00", "/static/", "/static", "/etc/passwd", "/history", "//", "/live/..",
        ):  # fmt: skip
            assert await bench.status(path) in {400, 404}, path
        status, text, headers = await bench.get("/static/page.js")
        assert (status, headers["Content-Type"], "use strict" in text) == (200, "text/javascript; charset=utf-8", True)
        assert await bench.status("/static/page.js", headers={"If-None-Match": headers["ETag"]}) == 304
        assert await bench.status("/static/page.js", headers={"If-None-Match": '"other"'}) == 200
        assert json.loads((await bench.get("/api/v1/openapi.json"))[1])["openapi"] == "3.1.0"
        assert "Apache License" in (await bench.get("/static/lightweight-charts.LICENSE"))[1]
        assert await bench.status("/", method="PUT") == 405


async def test_a_token_is_asked_for_once_by_a_form_and_guessing_is_slow() -> None:
    async with showing(TOKEN) as bench:
        assert (await bench.get("/"))[2]["Location"] == "/login"
        assert await bench.status("/api/v1/pairs") == 401
        assert await bench.status("/live") == 401
        assert await bench.status("/", headers={"Authorization": f"Bearer {TOKEN}"}) == 200
        assert await bench.status("/", headers={"Host": "recorder.example"}) == 303  # as a proxy passes it on
        status, text, _ = await bench.get("/login")
        assert (status, 'type="password"' in text) == (200, True)
        assert await bench.status("/health") == 200
        post: dict[str, Any] = {"method": "POST", "data": {"token": TOKEN}}
        assert await bench.status("/login", headers={"Origin": "http://evil.example"}, **post) == 403
        status, _, headers = await bench.get("/login", **post)
        cookie = headers["Set-Cookie"]
        assert (status, "HttpOnly" in cookie, "SameSite=Strict" in cookie, TOKEN in cookie) == (303, True, True, False)
        known = {"Cookie": cookie.partition(";")[0]}
        assert await bench.status("/", headers=known) == 200
        wrong: dict[str, Any] = {"method": "POST", "data": {"token": "x" * 20}}
        assert [await bench.status("/login", **wrong) for _ in range(ATTEMPTS + 1)] == [403] * ATTEMPTS + [429]
        assert await bench.status("/login", **post) == 429  # also with the right one
        assert await bench.status("/", headers=known) == 200  # who is in stays in
        bench.clock.move(11)
        assert await bench.status("/login", **post) == 303
        assert await bench.status("/logout", headers=known, method="POST") == 303
        assert await bench.status("/", headers=known) == 303


async def test_the_stream_tells_what_changes() -> None:
    async with showing() as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{bench.port}\r\n\r\n".encode())

        async def message() -> dict[str, Any]:
            async with asyncio.timeout(20):
                while not (line := await reader.readline()).startswith(b"data: "):
                    assert line
            return dict(json.loads(line.removeprefix(b"data: ")))

        everything = await message()
        while "rows" not in everything or not everything["rows"]:
            everything = await message()
        assert everything["rows"]["BTC/USD"]["price"] == "97,000.10"
        assert "hole opened" in everything["parts"]["events"]
        bench.source.price = "97000.20"
        bench.clock.move(1)
        changed = await message()
        assert changed["rows"]["BTC/USD"]["price"] == "97,000.20"
        assert set(changed.get("parts", ())) <= {"calendar"}  # which tells by now that the reader cannot be begun
        writer.close()


async def test_a_viewer_that_does_not_read_is_dropped_and_nothing_waits_for_it() -> None:
    source, clock = Source(), ManualClock()

    async def past() -> dict[str, Any]:
        raise NoAnswer("asleep")

    live = LiveOverview(source, past, clock, lambda: "sleeping")
    async with live.watched() as messages:
        changes = 0
        while live.viewers:
            changes += 1
            source.price = f"{changes}.5"
            await settle_until(lambda: clock.sleepers > 0 or not live.viewers)
            clock.move(1)
        assert changes <= QUEUED + 2
        assert messages.qsize() == QUEUED
        assert [messages.get_nowait() for _ in range(QUEUED)][-1] is None
    await live.close()


async def test_slow_and_silent_clients_are_cut_and_others_are_served() -> None:
    async with showing(limits=Limits(connections=8, connection_s=0.4)) as bench:
        silent = [await asyncio.open_connection("127.0.0.1", bench.port) for _ in range(6)]
        silent[0][1].write(b"POST /api/v1/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                           b"Content-Length: 900\r\n\r\n{")  # fmt: skip
        assert await bench.status("/health") == 200
        async with asyncio.timeout(20):
            for reader, writer in silent[1:]:
                assert await reader.read() == b""
                writer.close()
        silent[0][1].close()
