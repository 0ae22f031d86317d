"""The rim of the WebSocket side: sockets, and one bounded queue for each.

Owns delivery. Refuses what is said: ``socket`` decides that. One slow reader never holds up the others: who lets
the queue run over is cut off, as Kraken does (API.md 8.1). What goes wrong with lines on demand, ``garble`` says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Final

from aiohttp import ClientConnectionResetError, WSMsgType, web

from recorder.clock import Clock
from recorder.sandbox.garble import Garble
from recorder.sandbox.socket import HEARTBEAT, Connection

QUEUED_BYTES: Final = 32 << 20
"""Bytes that may wait for one client: the greatest burst takes 20 MB, ten seconds of the busiest market 30 MB."""
LARGEST_REQUEST: Final = 1 << 20
"""Bytes of one client frame: a subscription to every pair takes 20 kB."""
HEARTBEAT_EVERY_S: Final = 1.0
IDLE_S: Final = 60.0
"""A connection on which nothing moves is closed after this time (API.md 8.1)."""

_HEARTBEAT: Final = HEARTBEAT.encode()


class Client:
    """One open socket. Everything it is sent goes through the queue, so that order is kept."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, connection: Connection, lines: Garble
    ) -> None:
        self.connection = connection
        self.moved_s = 0.0
        self.beaten_s: float | None = None
        self._socket = socket
        self._transport = transport
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queued_bytes = 0
        self._lines = lines
        self._stalls = lines.stalls
        self._dead = False
        self._held: bytes | None = None

    def push(self, payload: bytes) -> None:
        """Queue one frame; who does not keep up is cut off."""
        if self._dead or self._stalls != self._lines.stalls:
            return
        self._queued_bytes += len(payload)
        if self._queued_bytes > QUEUED_BYTES:
            self.hang_up()
        else:
            self._queue.put_nowait(payload)

    def tell(self, payload: bytes, damage: Collection[str]) -> None:
        """Queue one frame of live trades, with what is to go wrong with it."""
        if "drop" in damage:
            return
        if "torn" in damage:
            payload = payload[: len(payload) // 2]
        if "reorder" in damage and self._held is None:
            self._held = payload
            return
        for _ in range(2 if "duplicate" in damage else 1):
            self.push(payload)
        self.catch_up()

    def catch_up(self) -> None:
        """Queue what was held back, if anything was."""
        if self._held is not None:
            self.push(self._held)
            self._held = None

    def hang_up(self) -> None:
        """Cut the connection without a close frame: the client sees 1006."""
        self._transport.abort()

    def die(self) -> None:
        """Send nothing any more, and say nothing about it."""
        self._dead = True

    async def deliver(self) -> None:
        """Send what is queued, until cancelled or cut off."""
        with contextlib.suppress(ClientConnectionResetError):
            while True:
                payload = await self._queue.get()
                await self._socket.send_frame(payload, WSMsgType.TEXT)
                self._queued_bytes -= len(payload)


class Clients:
    """All open sockets."""

    def __init__(self, clock: Clock, lines: Garble) -> None:
        self._clock = clock
        self._lines = lines
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def following(self, symbol: str) -> list[Client]:
        """Return those who follow a pair."""
        return [client for client in self._clients if symbol in client.connection.symbols]

    async def serve(self, request: web.Request, connection: Connection) -> web.WebSocketResponse:
        """Talk with one client until it leaves or is cut off."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=LARGEST_REQUEST)
        await socket.prepare(request)
        if self._lines.brushing_off:
            await socket.close()
            return socket
        assert request.transport is not None, "a prepared socket has a transport"
        client = Client(socket, request.transport, connection, self._lines)
        client.moved_s = self._clock.monotonic()
        self._clients.add(client)
        delivery = asyncio.create_task(client.deliver())
        try:
            for frame in connection.opened():
                client.push(frame.encode())
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                client.moved_s = self._clock.monotonic()
                for frame in connection.receive(message.data, now_ns=self._clock.wall_ns()):
                    client.push(frame.encode())
        finally:
            self._clients.discard(client)
            delivery.cancel()
        return socket

    def push(self, text: str, symbols: Collection[str]) -> None:
        """Queue one frame of live trades for everyone who follows one of ``symbols``, unless these are silent."""
        if self._lines.silent(symbols):
            return
        payload, damage = text.encode(), self._lines.strike()
        for client in self._clients:
            if not client.connection.symbols.isdisjoint(symbols):
                client.tell(payload, damage)

    def tell_status(self) -> None:
        """Queue the status frame for everyone, subscribed or not."""
        for client in self._clients:
            client.moved_s = self._clock.monotonic()
            client.push(client.connection.status().encode())

    def beat(self) -> None:
        """Send the heartbeats that are due, and cut off who has been silent without a subscription."""
        now_s = self._clock.monotonic()
        for client in self._clients:
            if not client.connection.symbols:
                if now_s - client.moved_s >= IDLE_S:
                    client.hang_up()
            elif client.beaten_s is None:
                client.beaten_s = now_s
            elif now_s - client.beaten_s >= HEARTBEAT_EVERY_S:
                # From the last due moment, not from now: the loop's lateness must not add up.
                client.beaten_s += HEARTBEAT_EVERY_S * int((now_s - client.beaten_s) / HEARTBEAT_EVERY_S)
                client.moved_s = now_s
                client.catch_up()
                client.push(_HEARTBEAT)

    def hang_up(self) -> None:
        """Cut every connection without a close frame."""
        for client in self._clients:
            client.hang_up()
