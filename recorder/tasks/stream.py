"""One WebSocket connection, again and again: frames in, stamped, judged by the session, handed to the inbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import structlog

from recorder.clock import Clock
from recorder.core.backoff import Backoff, session_healthy
from recorder.errors import Unavailable
from recorder.journal import segment
from recorder.kraken.parse import TRADE_SOURCE
from recorder.kraken.session import (
    Effect,
    Hangup,
    Keep,
    Rejected,
    Rows,
    Send,
    Session,
    Status,
    Subscribed,
    Unreadable,
)
from recorder.net.socket import Socket
from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbound, Inbox

TICK_S: Final = 1.0
"""How often a session is told that time passes; its deadlines are whole seconds."""

log = structlog.get_logger()


class Fallback(Protocol):
    """Who records the pairs that are not streamed."""

    def take_over(self, pair: str) -> None:
        """Record ``pair`` from now on."""
        ...

    def hand_back(self, pair: str) -> None:
        """Leave ``pair`` to the stream from now on."""
        ...


class Stream:
    """Records the live trades of ``pairs`` over one connection at a time.

    ``dial`` opens a connection or raises Unavailable. Each connection has a number, which names its frames in
    the journal. Pairs that Kraken refuses to stream are given to ``fallback``, and taken back when it does.
    """

    def __init__(
        self,
        pairs: Iterable[str],
        dial: Callable[[], AbstractAsyncContextManager[Socket]],
        inbox: Inbox,
        *,
        fallback: Fallback,
        backoff: Backoff,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._pairs = list(pairs)
        self._dial = dial
        self._inbox = inbox
        self._fallback = fallback
        self._backoff = backoff
        self._clock = clock
        self._metrics = metrics
        self._connection = 0

    async def run(self) -> None:
        """Connect, record, and connect again, until cancelled."""
        while True:
            self._connection += 1
            session = Session(self._pairs)
            started_s = self._clock.monotonic()
            self._backoff.attempted(started_s)
            try:
                async with self._dial() as socket:
                    started_s = self._clock.monotonic()
                    await self._note("connected")
                    self._metrics.connected()
                    await self._converse(session, socket)
            except Unavailable as error:
                lasted_s = self._clock.monotonic() - started_s
                self._backoff.ended(healthy=session_healthy(lasted_s, subscribed=bool(session.subscribed)))
                delay_s = self._backoff.delay_s(self._clock.monotonic())
                await self._note("disconnected", reason=str(error))
                self._metrics.disconnected()
                log.warning("stream interrupted", reason=str(error), retry_in_s=round(delay_s, 1))
                await self._clock.sleep(delay_s)

    async def _converse(self, session: Session, socket: Socket) -> None:
        source = f"{TRADE_SOURCE}{self._connection}"
        ticking = asyncio.create_task(self._tick(session, socket))
        try:
            await self._obey(session.opened(self._clock.monotonic()), socket)
            while True:
                frame = await socket.receive()
                recv_ns = self._clock.wall_ns()
                effects = session.receive(frame, self._clock.monotonic(), received_ns=recv_ns)
                for effect in effects:
                    if isinstance(effect, Rows):
                        inbound = Inbound(segment.encode(recv_ns, source, frame, parsed=True), effect.runs)
                        if not self._inbox.add(inbound):
                            await self._inbox.put(inbound)
                    elif isinstance(effect, Keep):
                        line = segment.encode(recv_ns, f"ws:{effect.channel}:{self._connection}", frame)
                        await self._inbox.put(Inbound(line, []))
                    else:
                        await self._obey([effect], socket)
        finally:
            ticking.cancel()

    async def _tick(self, session: Session, socket: Socket) -> None:
        with contextlib.suppress(Unavailable):  # the end of the connection; whoever receives is told too
            while True:
                await self._clock.sleep(TICK_S)
                await self._obey(session.tick(self._clock.monotonic()), socket)

    async def _obey(self, effects: Sequence[Effect], socket: Socket) -> None:
        for effect in effects:
            match effect:
                case Send(text):
                    await socket.send(text)
                case Hangup(reason):
                    log.warning("hanging up", reason=reason)
                    await self._note("stalled", reason=reason)
                    await socket.close()
                case Subscribed(pair):
                    self._fallback.hand_back(pair)
                    await self._note("subscribed", pair=pair)
                    log.info("recording", pair=pair)
                case Rejected(pair, reason):
                    await self._note("rejected", pair=pair, reason=reason)
                    self._metrics.rejected.inc()
                    log.error("subscription refused", pair=pair, reason=reason)
                    if pair is not None:
                        self._fallback.take_over(pair)
                case Status(system, connection_id):
                    log.info("exchange status", system=system, connection_id=connection_id)
                case Unreadable(reason):
                    await self._note("malformed", reason=reason)
                    self._metrics.unreadable.inc()
                    log.error("frame kept but not understood", reason=reason)
                case Rows() | Keep():  # carried out where the frame is at hand
                    pass

    async def _note(self, kind: str, **detail: object) -> None:
        line = segment.encode_note(self._clock.wall_ns(), kind, connection=self._connection, **detail)
        await self._inbox.put(Inbound(line, []))
