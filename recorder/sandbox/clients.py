"""The sockets of the WebSocket side, with one bounded queue for each.

Contains delivery; ``websocket`` decides the content. One slow reader never delays the others: a client whose queue
overflows is cut off, as by Kraken (API.md 8.1). Faults of lines are in ``websocket_faults``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiohttp import ClientConnectionResetError, WSMsgType, web

from recorder.clock import Clock
from recorder.sandbox.channels import Channel
from recorder.sandbox.sent_frames import SentFrames
from recorder.sandbox.websocket import HEARTBEAT, PONG, Connection
from recorder.sandbox.websocket_faults import Stall, WebSocketFaults

QUEUED_BYTES: Final = 32 << 20
"""Bytes that may wait for one client: the greatest burst takes 20 MB, ten seconds of the busiest market 30 MB."""
LARGEST_REQUEST: Final = 1 << 20
"""Bytes of one client frame: a subscription to every pair takes 20 kB."""
HEARTBEAT_EVERY_S: Final = 1.0
IDLE_S: Final = 60.0
"""A connection without traffic is closed after this time (API.md 8.1)."""

_HEARTBEAT: Final = HEARTBEAT.encode()


class Client:
    """One open socket. Every frame sent to it passes through the queue, so that order is kept."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        connection: Connection,
        lines: WebSocketFaults,
        sent: SentFrames,
    ) -> None:
        self.connection = connection
        self.moved_s = 0.0
        self.beaten_s: float | None = None
        self._socket = socket
        self._transport = transport
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queued_bytes = 0
        self._lines = lines
        self._sent = sent
        self._late: list[bytes] = []
        self._survived = len(lines.stalls)
        self._died: Stall | None = None
        self._held: bytes | None = None

    @property
    def stall(self) -> Stall | None:
        """How the line is dead; None while it is alive."""
        return self._lines.stalls[-1] if len(self._lines.stalls) > self._survived else self._died

    def push(self, payload: bytes) -> None:
        """Queue one frame, if the line is alive."""
        if self.stall is None:
            self._queue_up(payload)

    def answer(self, text: str, *, now_ns: int) -> None:
        """Queue the answers to one frame of the client; a dead line answers pings at most, a slow one later."""
        stall = self.stall
        for frame in self.connection.receive(text, now_ns=now_ns):
            if stall is None and self._lines.answers_late and not frame.startswith(PONG):
                self._late.append(frame.encode())
            elif stall is None or (stall.ping_messages and frame.startswith(PONG)):
                self._queue_up(frame.encode())

    def answer_late(self) -> None:
        """Queue the answers that had to wait, once they need not any more."""
        if self._late and not self._lines.answers_late:
            waiting, self._late = self._late, []
            for payload in waiting:
                self.push(payload)

    async def answer_ping(self, payload: bytes) -> None:
        """Answer a ping of the WebSocket protocol, ahead of the queue."""
        if self.stall is None or self.stall.ping_frames:
            with contextlib.suppress(ClientConnectionResetError):
                await self._socket.pong(payload)

    def _queue_up(self, payload: bytes) -> None:
        """Queue one frame; a client that does not keep up is cut off."""
        payload = self._lines.sent(payload)
        self._queued_bytes += len(payload)
        if self._queued_bytes > QUEUED_BYTES:
            self.hang_up()
        else:
            self._queue.put_nowait(payload)

    def tell(self, payload: bytes, damage: Collection[str]) -> None:
        """Queue one live frame, with its damage."""
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
        """Queue the frame that was held back, if there is one."""
        if self._held is not None:
            self.push(self._held)
            self._held = None

    def hang_up(self) -> None:
        """Cut the connection without a close frame: the client sees 1006."""
        self._transport.abort()

    def die(self, stall: Stall) -> None:
        """Stop sending anything except answers to pings, without notice."""
        self._died = stall

    async def deliver(self) -> None:
        """Send what is queued, until cancelled or cut off."""
        with contextlib.suppress(ClientConnectionResetError):
            while True:
                payload = await self._queue.get()
                await self._socket.send_frame(payload, WSMsgType.TEXT)
                self._sent.add(self.connection.connection_id, payload)
                self._queued_bytes -= len(payload)


class Clients:
    """All open sockets."""

    def __init__(self, clock: Clock, lines: WebSocketFaults) -> None:
        self.sent = SentFrames()
        """What was really sent, if that is recorded."""
        self._clock = clock
        self._lines = lines
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def following(self, symbol: str) -> list[Client]:
        """Return the clients that follow a pair."""
        return [client for client in self._clients if symbol in client.connection.symbols]

    async def serve(self, request: web.Request, connection: Connection) -> web.WebSocketResponse:
        """Serve one client until it leaves or is cut off."""
        # Pings are answered here, since a dead line may not answer them.
        socket = web.WebSocketResponse(compress=False, max_msg_size=LARGEST_REQUEST, autoping=False)
        await socket.prepare(request)
        if self._lines.brushing_off:
            await socket.close()
            return socket
        assert request.transport is not None, "a prepared socket has a transport"
        client = Client(socket, request.transport, connection, self._lines, self.sent)
        client.moved_s = self._clock.monotonic()
        self._clients.add(client)
        delivery = asyncio.create_task(client.deliver())
        try:
            for frame in connection.opened():
                client.push(frame.encode())
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    client.moved_s = self._clock.monotonic()
                    client.answer(message.data, now_ns=self._clock.wall_ns())
                elif message.type is WSMsgType.PING:
                    await client.answer_ping(message.data)
                elif message.type is not WSMsgType.PONG:
                    break
        finally:
            self._clients.discard(client)
            delivery.cancel()
        return socket

    def push(
        self, text: str, channel: Channel, symbols: Collection[str], requires: Mapping[str, Any] | None = None
    ) -> None:
        """Queue one live frame of a channel for everyone who follows one of ``symbols``, unless these are silent.

        Only those get it whose subscription has the parameters that it ``requires``.
        """
        if self._lines.silent(symbols):
            return
        payload, damage = text.encode(), self._lines.strike()
        for client in self._clients:
            if client.connection.follows(channel, symbols, requires):
                client.tell(payload, damage)

    def followed(self, channel: Channel) -> set[str]:
        """Return the symbols that anyone follows on a channel."""
        return set[str]().union(*(client.connection.followed(channel) for client in self._clients))

    def say(self, text: str) -> None:
        """Queue a frame for everyone, subscribed or not."""
        for client in self._clients:
            client.push(text.encode())

    def tell_status(self) -> None:
        """Queue the status frame for everyone, subscribed or not."""
        for client in self._clients:
            client.moved_s = self._clock.monotonic()
            client.push(client.connection.status().encode())

    def beat(self) -> None:
        """Send the heartbeats that are due, and cut off idle clients without a subscription."""
        now_s = self._clock.monotonic()
        for client in self._clients:
            client.answer_late()
            if not client.connection.symbols:
                if now_s - client.moved_s >= IDLE_S:
                    client.hang_up()
            elif client.beaten_s is None:
                client.beaten_s = now_s
            elif now_s - client.beaten_s >= HEARTBEAT_EVERY_S:
                # From the last due time, not from now: the loop's delays must not add up.
                client.beaten_s += HEARTBEAT_EVERY_S * int((now_s - client.beaten_s) / HEARTBEAT_EVERY_S)
                client.moved_s = now_s
                client.catch_up()
                client.push(_HEARTBEAT)

    def hang_up(self) -> None:
        """Cut every connection without a close frame."""
        for client in self._clients:
            client.hang_up()
