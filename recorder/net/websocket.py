"""One WebSocket connection: dial, send, receive, close. Frames are bytes as received."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final, Protocol, cast

import aiohttp

from recorder.core.safe_text import without_credentials
from recorder.errors import Unavailable
from recorder.kraken import rest_api
from recorder.net.http import Redirected, reason, wanted_s

DIAL_S: Final = 10.0
"""A handshake takes well under a second; after this many seconds the network is blocked."""
MAX_FRAME: Final = 16 * 1024 * 1024
"""Maximum bytes of one frame. The largest real ones are instrument snapshots of some 250 kB."""


class Socket(Protocol):
    """An open connection."""

    async def receive(self) -> bytes:
        """Return the next frame. Raises Unavailable when the connection has ended, for whatever reason."""
        ...

    async def send(self, text: str) -> None:
        """Send one frame. Raises Unavailable when the connection has ended."""
        ...

    async def close(self) -> None:
        """End the connection; a waiting :meth:`receive` raises."""
        ...


class WebSocket:
    """A :class:`Socket` over aiohttp. The library answers pings of the peer."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._connection = connection

    async def receive(self) -> bytes:
        """See :class:`Socket`."""
        message = await self._connection.receive()
        if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
            return cast("bytes", message.data)  # decode_text=False: text comes as bytes
        code = self._connection.close_code
        problem = self._connection.exception()
        raise Unavailable(f"the connection ended (close code {code}{f', {problem}' if problem else ''})")

    async def send(self, text: str) -> None:
        """See :class:`Socket`."""
        try:
            await self._connection.send_str(text)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unavailable(f"the connection ended while sending: {error}") from error

    async def close(self) -> None:
        """See :class:`Socket`."""
        await self._connection.close()


@contextlib.asynccontextmanager
async def dial(client: aiohttp.ClientSession, url: str) -> AsyncIterator[Socket]:
    """Connect to ``url``.

    Raises Unavailable with the reason if there is no answer or the handshake fails; RateLimited or Forbidden if the
    exchange refuses this client.
    """
    timeout = aiohttp.ClientWSTimeout(ws_close=2.0)
    shown = without_credentials(url)
    try:
        async with asyncio.timeout(DIAL_S):
            connection = await client.ws_connect(
                url, timeout=timeout, max_msg_size=MAX_FRAME, decode_text=False, compress=0
            )
    except aiohttp.WSServerHandshakeError as error:
        text = f"{shown} refused the handshake: HTTP {error.status}, {error.message}"
        raise type(rest_api.refusal(error.status))(text, wanted_s(error.headers or {}, time.time_ns())) from error
    except Redirected as error:
        text = f"{shown} refused the handshake: {error}: check exchange.ws_url"
        raise Unavailable(text, wanted_s(error.headers, time.time_ns())) from error
    except TimeoutError as error:
        raise Unavailable(f"{shown} did not answer within {DIAL_S:.0f} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"cannot reach {shown}: {reason(error)}") from error
    try:
        yield WebSocket(connection)
    finally:
        await connection.close()
