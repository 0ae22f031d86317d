from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from recorder.config import OpsConfig
from recorder.errors import ConfigError
from recorder.ops.metrics import Metrics
from recorder.ops.server import LINE_BYTES, Face, Limits, serve
from tests.ops.states import GOOD, TOKEN, with_
from tests.servers import free_port

BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Bench:
    """A server, what it tells, and a client."""

    def __init__(self, client: aiohttp.ClientSession, port: int) -> None:
        self.metrics, self.state = Metrics(), GOOD
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self._client = client

    async def get(self, path: str, **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        method = options.pop("method", "GET")
        async with self._client.request(method, f"{self.url}{path}", **options) as answer:
            return answer.status, await answer.text(), answer

    async def status(self, path: str, **options: Any) -> int:
        return (await self.get(path, **options))[0]

    async def raw(self, content: bytes) -> bytes:
        """Send bytes, and return what comes until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(content)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(limits: Limits | None = None, **ops: Any) -> AsyncIterator[Bench]:
    port = free_port()
    async with aiohttp.ClientSession() as client:
        bench = Bench(client, port)
        face = Face(bench.metrics, lambda: bench.state, lambda: {"archive": "/data", "pairs": 3})
        async with serve(OpsConfig(port=port, **ops), face, limits):
            yield bench


async def test_health_ready_and_metrics_are_served_and_nothing_else() -> None:
    async with serving() as bench:
        bench.metrics.refilled.inc(3)
        assert (await bench.get("/health"))[:2] == (200, '{"status": "alive"}\n')
        status, body, _ = await bench.get("/ready")
        assert status == 200
        assert json.loads(body) == {"status": "recording", "reasons": [], "archive": "/data", "pairs": 3}
        status, body, answer = await bench.get("/metrics")
        assert "recorder_rows_refilled_total 3.0" in body
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        for path in ("/", "/etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/health/", "/metrics/x"):
            assert await bench.status(path) == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert await bench.status("/metrics", method=method) == 405


async def test_what_is_wrong_is_an_answer_that_fails_with_its_reasons() -> None:
    async with serving() as bench:
        bench.state = with_(silent_s=[100.0])
        status, body, _ = await bench.get("/ready")
        assert status == 503
        assert json.loads(body)["status"] == "not recording"
        assert json.loads(body)["reasons"] == ["no data or heartbeat came for 100 s: the stream is down"]
        assert (await bench.get("/health"))[:2] == (200, '{"status": "alive"}\n')
        bench.state = with_(unsynced_s=400.0)
        assert (await bench.get("/health"))[:2] == (503, '{"status": "stuck"}\n')
        status, body, _ = await bench.get("/ready")
        assert status == 503
        assert len(json.loads(body)["reasons"]) == 2


async def test_every_answer_has_safe_headers_and_ends_its_connection() -> None:
    async with serving(token=SecretStr(TOKEN)) as bench:
        answers = [await bench.get(path) for path in ("/health", "/metrics", "/none")]
        assert [status for status, _, _ in answers] == [200, 401, 401]
        for _, _, answer in answers:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert answer.headers["Server"] == "kraken-recorder"
            assert answer.headers["Connection"] == "close"
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_with_a_token_nobody_without_it_learns_more_than_one_word() -> None:
    async with serving(token=SecretStr(TOKEN)) as bench:
        bench.state = with_(unsynced_s=400.0)
        assert (await bench.get("/health"))[:2] == (503, '{"status": "stuck"}\n')
        wrong = [
            "",
            "Bearer",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}x",
            f"Basic {TOKEN}",
            TOKEN,
            f"bearer {TOKEN}",
            "é",
        ]
        for path in ("/ready", "/metrics"):
            assert await bench.status(path) == 401
            for said in wrong:
                status, body, answer = await bench.get(path, headers={"Authorization": said})
                assert (status, body, answer.headers["WWW-Authenticate"]) == (401, "", "Bearer")
        assert await bench.status("/ready", headers=BEARER) == 503
        assert await bench.status("/metrics", headers=BEARER) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_what_others_can_reach_needs_a_key_and_a_token(host: str) -> None:
    face = Face(Metrics(), lambda: GOOD, dict)

    async def refused(**ops: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            async with serve(OpsConfig.model_construct(host=host, port=free_port(), **ops), face):
                pass
        return str(caught.value)

    assert "set ops.expose to true and ops.token" in await refused(expose=False, token=SecretStr(TOKEN))
    said = await refused(expose=True, token=None)
    assert "ops.token is not set" in said
    assert "RECORDER_OPS__TOKEN" in said


async def test_with_both_it_is_reached_by_any_name() -> None:
    async with serving(host="0.0.0.0", expose=True, token=SecretStr(TOKEN)) as bench:
        assert await bench.status("/metrics", headers={**BEARER, "Host": "recorder.example"}) == 200
        assert await bench.status("/metrics", headers={"Host": "recorder.example"}) == 401


async def test_a_page_that_means_this_machine_by_a_name_of_its_own_reads_nothing() -> None:
    async with serving() as bench:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::ffff:192.0.2.1]"):
            assert await bench.status("/metrics", headers={"Host": host}) == 421
        for host in ("localhost", f"localhost:{bench.port}", "127.0.0.1", "[::1]:80"):
            assert await bench.status("/metrics", headers={"Host": host}) == 200


HOSTS = [
    b"%6c%6f%63alhost",
    b"localhost%00",
    b"[::1%25lo]",
    b"127.0.0.1:99999",
    b"127.0.0.1:-1",
    b"localhost:x",
    b"evil@localhost",
    b"localhost/",
    b"loc alhost",
    b"",
    b"[",
    b"[]",
    b"[::1",
    b"x" * 254,
    b"x" * 1000 + b".localhost",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"xn--\xc3",
    b"localhost\r\nHost: localhost",
    b"evil.example\r\nHost: localhost",
]


@pytest.mark.parametrize("token", [None, SecretStr(TOKEN)])
async def test_a_host_that_is_no_name_is_a_bad_request_and_no_failure(
    capsys: pytest.CaptureFixture[str], token: SecretStr | None
) -> None:
    async with serving(token=token) as bench:
        for host in HOSTS:
            for path in (b"/health", b"/metrics", b"/x"):
                answer = await bench.raw(b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
                assert answer.split()[1] == b"400", (host, path, answer)
        for line in (
            b"http://%zz/health",
            b"http://127.0.0.1:99999/health",
            b"//%31:x/health",
            b"*",
            b"http://[/",
            b"x",
        ):
            answer = await bench.raw(b"GET " + line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer == b"" or answer.split()[1][:1] in {b"2", b"4"}, (line, answer)
        assert (await bench.raw(b"GET /health HTTP/1.0\r\n\r\n")).split()[1] == (b"200" if token else b"421")
    assert "failed" not in capsys.readouterr().err


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with serving() as bench:
        long = b"x" * 2 * LINE_BYTES
        for request in (
            b"GET /" + long + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + long + b"\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ):
            answer = await bench.raw(request)
            assert b" 400 " in answer.partition(b"\r\n")[0] or answer == b""
            assert b"alive" not in answer
        assert await bench.status("/health") == 200


async def test_a_connection_ends_after_its_time_whatever_it_does() -> None:
    async with serving(Limits(connection_s=0.2)) as bench:
        beginnings = [
            b"",
            b"GET /health HT",
            b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nx",
        ]
        ended = await asyncio.gather(*(bench.raw(beginning) for beginning in beginnings))
        assert ended[:2] == [b"", b""]
        assert await bench.status("/health") == 200


async def test_no_more_than_so_many_connections_are_open_and_the_next_one_is_told() -> None:
    async with serving(Limits(connections=2, connection_s=0.5)) as bench:
        idle = [await asyncio.open_connection("127.0.0.1", bench.port) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await bench.raw(b"")).startswith(b"HTTP/1.1 503 ")
        for reader, writer in idle:
            async with asyncio.timeout(10):
                assert await reader.read() == b""  # their time is over
            writer.close()
        assert await bench.status("/health") == 200


async def test_a_failure_inside_is_logged_and_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as bench:
        bench.metrics.inbox_bytes.set_function(lambda: 1 / 0)
        assert (await bench.get("/metrics"))[:2] == (500, "see the log\n")
        assert await bench.status("/health") == 200
    said = capsys.readouterr().out
    assert "the status server failed" in said
    assert "division by zero" in said


async def test_a_token_reaches_no_log_and_no_answer(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(token=SecretStr(TOKEN)) as bench:
        answers = [
            await bench.raw(f"GET /ready HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}x\r\n\r\n".encode())
        ]
        answers.append((await bench.get("/metrics", headers=BEARER))[1].encode())
        broken = f"GET /ready HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\0\r\n\r\n".encode()
        await bench.raw(broken)  # its own words may come back to whoever sent them, but nowhere else
        bench.metrics.inbox_bytes.set_function(lambda: 1 / 0)
        answers.append((await bench.get("/metrics", headers=BEARER))[1].encode())
    said = "".join(capfd.readouterr()) + caplog.text
    assert TOKEN not in said
    assert all(TOKEN.encode() not in answer for answer in answers)


async def test_a_taken_port_and_an_invalid_host_are_errors_with_a_remedy() -> None:
    face = Face(Metrics(), lambda: GOOD, dict)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"ops.port is {port}.*choose another, or 0"):
            async with serve(OpsConfig(port=port), face):
                pass
    with pytest.raises(ConfigError, match="cannot listen on no such host:9"):
        async with serve(OpsConfig(host="no such host", port=9), face):
            pass


async def test_port_0_serves_nothing() -> None:
    async with serve(OpsConfig(host="no such host", port=0), Face(Metrics(), lambda: GOOD, dict)):
        pass
