from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate

import aiohttp
import pytest
from aiohttp import web

from recorder.errors import ExchangeError, Forbidden, RateLimited, Unavailable
from recorder.net import websocket
from recorder.net.http import USER_AGENT, client_session
from recorder.net.websocket import Socket, dial
from tests.servers import Handler, Listen, Serve


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


class Peer:
    """The other end of one WebSocket: what it is told to do after the handshake, and what it heard."""

    def __init__(self, *sends: str | bytes, then: str = "listen") -> None:
        self._sends = sends
        self._then = then
        self.heard: list[str] = []
        self.agent = ""
        self.extensions = ""

    async def __call__(self, request: web.Request) -> web.WebSocketResponse:
        self.agent = request.headers["User-Agent"]
        self.extensions = request.headers.get("Sec-WebSocket-Extensions", "")
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        for content in self._sends:
            await (connection.send_str(content) if isinstance(content, str) else connection.send_bytes(content))
        if self._then == "close":
            await connection.close(code=1012, message=b"restart")
        elif self._then == "abort":
            assert request.transport is not None
            request.transport.abort()
        else:
            async for message in connection:
                self.heard.append(message.data)
                await connection.send_str(message.data)
        return connection


async def test_frames_come_as_the_bytes_they_were_sent_as(serve: Serve, client: aiohttp.ClientSession) -> None:
    text = '{"price":0.10000,"name":"Zürich"}'
    async with serve(Peer(text, b"\x00\xff")) as address, dial(client, f"ws://{address}/v2") as connection:
        assert await connection.receive() == text.encode()
        assert await connection.receive() == b"\x00\xff"


async def test_it_sends_and_says_who_calls_and_asks_for_no_compression(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    peer = Peer()
    async with serve(peer) as address, dial(client, f"ws://{address}/v2") as connection:
        await connection.send('{"method":"ping"}')
        assert await connection.receive() == b'{"method":"ping"}'
    assert (peer.heard, peer.agent, peer.extensions) == (['{"method":"ping"}'], USER_AGENT, "")


@pytest.mark.parametrize(("then", "code"), [("close", "1012"), ("abort", "1006")])
async def test_an_end_is_an_end_however_it_comes_and_stays_one(
    serve: Serve, client: aiohttp.ClientSession, then: str, code: str
) -> None:
    async with serve(Peer("last words", then=then)) as address, dial(client, f"ws://{address}/v2") as connection:
        assert await connection.receive() == b"last words"
        for _ in range(3):
            with pytest.raises(Unavailable, match=rf"the connection ended \(close code {code}"):
                await connection.receive()
        with pytest.raises(Unavailable, match="the connection ended while sending"):
            await connection.send("too late")


async def test_a_frame_beyond_all_measure_ends_the_connection(
    serve: Serve, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_FRAME", 1000)
    async with serve(Peer("x" * 2000)) as address, dial(client, f"ws://{address}/v2") as connection:
        with pytest.raises(Unavailable, match="the connection ended"):
            await connection.receive()


async def test_closing_wakes_who_waits_for_a_frame(serve: Serve, client: aiohttp.ClientSession) -> None:
    async with serve(Peer()) as address, dial(client, f"ws://{address}/v2") as connection:
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(Unavailable, match="the connection ended"):
            await waiting


async def test_leaving_the_context_closes_the_connection(serve: Serve, client: aiohttp.ClientSession) -> None:
    async with serve(Peer()) as address:
        async with dial(client, f"ws://{address}/v2") as connection:
            pass
        with pytest.raises(Unavailable):
            await connection.receive()


async def dialled(client: aiohttp.ClientSession, url: str) -> Socket:
    async with dial(client, url) as connection:
        return connection


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, Unavailable), (403, Forbidden), (404, Unavailable), (429, RateLimited), (503, Unavailable)],
)
@pytest.mark.parametrize(("retry_after", "wanted_s"), [(None, None), ("600", 600.0), (formatdate(1_000_600), 600.0)])
async def test_a_refused_handshake_names_its_status_and_how_long_we_are_to_stay_away(
    serve: Serve,
    client: aiohttp.ClientSession,
    *,
    status: int,
    kind: type[ExchangeError],
    retry_after: str | None,
    wanted_s: float | None,
) -> None:
    headers = {"Date": formatdate(1_000_000), **({} if retry_after is None else {"Retry-After": retry_after})}

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>maintenance</html>", headers=headers)

    handler: Handler = handle
    async with serve(handler) as address:
        said = rf"ws://{address}/v2 refused the handshake: HTTP {status}, .+"
        with pytest.raises(ExchangeError, match=said) as refused:
            await dialled(client, f"ws://{address}/v2")
    assert (type(refused.value), refused.value.retry_after_s) == (kind, wanted_s)


async def test_a_redirect_of_the_handshake_is_not_followed(serve: Serve, client: aiohttp.ClientSession) -> None:
    peer = Peer("elsewhere")
    async with serve(peer) as host:

        async def handle(_request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"http://{host}/v2", "Retry-After": "9"})

        async with serve(handle) as address:
            said = rf"HTTP 302, a redirect to http://{host}/v2, is not followed: check exchange.ws_url"
            with pytest.raises(Unavailable, match=said) as refused:
                await dialled(client, f"ws://{address}/v2")
    assert refused.value.retry_after_s == 9.0
    assert peer.agent == ""


async def test_a_handshake_that_is_reset_is_one_attempt(listen: Listen, client: aiohttp.ClientSession) -> None:
    came: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"\r\n\r\n"))
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.abort()

    async with listen(talk) as address:
        with pytest.raises(Unavailable, match="cannot reach"):
            await dialled(client, f"ws://{address}/v2")
    assert len(came) == 1


async def test_an_exchange_that_nobody_answers_for_is_out_of_reach(nobody: str, client: aiohttp.ClientSession) -> None:
    with pytest.raises(Unavailable, match=rf"cannot reach ws://{nobody}/v2: Connection refused$"):
        await dialled(client, f"ws://{nobody}/v2")


async def test_a_handshake_cut_short_is_out_of_reach(listen: Listen, client: aiohttp.ClientSession) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switch")
        await writer.drain()

    async with listen(talk) as address:
        with pytest.raises(Unavailable, match=r"cannot reach .+: .+"):
            await dialled(client, f"ws://{address}/v2")


async def test_a_handshake_that_is_never_answered_is_given_up_with_a_sentence(
    listen: Listen, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "DIAL_S", 0.05)

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the caller has had enough
        await reader.read()

    async with listen(talk) as address:
        with pytest.raises(Unavailable, match=rf"ws://{address}/v2 did not answer within 0 s"):
            await dialled(client, f"ws://{address}/v2")


async def test_a_password_in_the_url_reaches_no_sentence(nobody: str, client: aiohttp.ClientSession) -> None:
    with pytest.raises(Unavailable, match=rf"cannot reach ws://\*\*\*@{nobody}/v2: Connection refused$"):
        await dialled(client, f"ws://me:s3cret@{nobody}/v2")
