"""A WebSocket connection, reopened whenever it ends: stamps frames, and passes them via the session to the inbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, assert_never

import structlog

from recorder.collectors.feed import Data, Feed
from recorder.core.backoff import Backoff, session_worked
from recorder.core.event_kinds import EventKind
from recorder.errors import ExchangeError, Unavailable
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.channels import TRADES
from recorder.kraken.websocket_session import (
    ChannelSession,
    Common,
    Hangup,
    Rejected,
    Send,
    StatusReport,
    Subscribed,
    UnknownFrame,
    UnreadableFrame,
)
from recorder.net.websocket import Socket
from recorder.runtime.context import Context
from recorder.runtime.inbox import Inbound

TICK_S: Final = 1.0
"""Interval at which a session is advanced in time; its deadlines are whole seconds."""

_NOT_OPENED: Final = "not_opened"
_ENDED: Final = "ended"
_HUNG_UP: Final = "hung_up"
"""Reasons for the end of a connection, as counted: never opened, ended by the other side, hung up by us."""

_COMMON: Final = (Send, Subscribed, Rejected, StatusReport, UnreadableFrame, UnknownFrame, Hangup)
"""The effects that are no data, whatever the channel."""

log = structlog.get_logger()


class Fallback(Protocol):
    """A collector for the pairs that are not streamed."""

    def take_over(self, pair: str) -> None:
        """Record ``pair`` from now on."""
        ...

    def hand_back(self, pair: str) -> None:
        """Leave ``pair`` to the stream from now on."""
        ...


class StatusListener(Protocol):
    """A recipient of the exchange's status."""

    async def report(
        self, source: str, system: str, upcoming_maintenance: list[dict[str, Any]], emergency: list[dict[str, Any]], /
    ) -> None:
        """Process a status from ``source``: the system's state, and the announced maintenance and emergencies."""
        ...


class Promiser(Protocol):
    """Ensures that all trades of a pair are promised before the first request for it."""

    async def make(self, pairs: Collection[str]) -> None:
        """Return once a promise of each of ``pairs`` is durable."""
        ...

    async def acknowledged(self, pair: str, time_in_us: int | None) -> None:
        """Record when the exchange acknowledged the subscription of ``pair``, by its own clock (µs since 1970 UTC).

        None if the acknowledgement does not report it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listeners:
    """The collaborators of a stream.

    ``fallback`` records the pairs that Kraken refuses to stream, temporarily or permanently, and hands them back once
    it streams them. ``refresh_soon`` is called when Kraken does not know a pair. ``status`` receives every status.
    ``promises`` are made for each pair before it is subscribed.
    """

    promises: Promiser
    fallback: Fallback
    status: StatusListener
    refresh_soon: Callable[[], None]


Dial = Callable[[], AbstractAsyncContextManager[Socket]]
"""Opens a connection, or raises ExchangeError; Unavailable once it is open."""


class StreamCollector(Generic[Data]):
    """Records the data of a ``feed`` for ``pairs`` over one connection at a time.

    ``pairs`` are live: :meth:`follow` signals that they have changed. Each connection, and each attempt at one, has a
    number that names its frames in the journal, the next of ``numbers``, which all connections of a run share.
    """

    def __init__(
        self,
        pairs: Collection[str],
        dial: Dial,
        context: Context,
        *,
        feed: Feed[Data],
        listeners: Listeners,
        backoff: Backoff,
        numbers: Iterator[int],
    ) -> None:
        self._feed = feed
        self._pairs = pairs
        self._dial = dial
        self._inbox = context.inbox
        self._notes = context.notes
        self._clock = context.clock
        self._metrics = context.metrics
        self._listeners = listeners
        self._backoff = backoff
        self._numbers = numbers
        self._connection = 0
        self._changed = asyncio.Event()
        self._open: tuple[ChannelSession[Any, Data], Socket] | None = None
        self._ending = _NOT_OPENED
        self._heard_s = self._clock.monotonic()

    def follow(self) -> None:
        """Adapt the open connection, if there is one, to the pairs; the next one starts with them."""
        self._changed.set()

    @property
    def connection(self) -> int | None:
        """Number of the open connection; None if there is none."""
        return self._connection if self._open is not None else None

    def streaming(self, pair: str) -> bool:
        """Return whether the subscription of ``pair`` is acknowledged on an open connection."""
        return self._open is not None and pair in self._open[0].subscribed

    def silent_s(self) -> float:
        """Return the seconds since the last sign of life on a connection that had served us."""
        self._listened()
        return self._clock.monotonic() - self._heard_s

    async def resubscribe(self, pairs: Sequence[str]) -> None:
        """Renew the subscriptions of ``pairs``; those that are not subscribed are left alone."""
        if self._open is None:
            return
        session, socket = self._open
        subscribed = [pair for pair in pairs if pair in session.subscribed]
        effects = [*session.drop(subscribed), *session.add(subscribed, self._clock.monotonic())]
        with contextlib.suppress(Unavailable):  # the connection ended; the receiving task notices too
            await self._apply(effects, socket)

    async def run(self) -> None:
        """Connect, record, and connect again, until cancelled."""
        while True:
            self._connection = next(self._numbers)
            pairs = list(self._pairs)
            await self._listeners.promises.make(pairs)
            session = self._feed.session(pairs)
            started_s = self._clock.monotonic()
            self._ending = _NOT_OPENED
            try:
                async with self._dial() as socket:
                    started_s = self._clock.monotonic()
                    await self._note(EventKind.CONNECTED)
                    self._metrics.connected()
                    self._ending = _ENDED
                    await self._exchange_frames(session, socket)
            except ExchangeError as error:
                self._backoff.ended(worked=session_worked(session.heard_s - started_s, served=session.serves))
                delay_s = max(self._backoff.delay_s(), error.retry_after_s or 0.0)
                await self._note(EventKind.DISCONNECTED, reason=str(error), retry_s=error.retry_after_s)
                self._metrics.disconnected(self._ending)
                log.warning(
                    "stream interrupted",
                    connection=self._connection,
                    pairs=len(self._pairs),
                    reason=str(error),
                    retry_in_s=round(delay_s, 1),
                )
                await self._clock.sleep(delay_s)

    async def _exchange_frames(self, session: ChannelSession[Any, Data], socket: Socket) -> None:
        beside = [asyncio.create_task(self._tick(session, socket))]
        try:
            await self._apply(session.opened(self._clock.monotonic()), socket)
            self._open = session, socket
            # Only now, so that no pair is unsubscribed before it was subscribed.
            beside.append(asyncio.create_task(self._tick_on_time(session, socket)))
            while True:
                frame = await socket.receive()
                recv_ns = self._clock.wall_ns()
                await self._apply(session.receive(frame, self._clock.monotonic(), received_ns=recv_ns), socket)
        finally:
            self._listened()
            self._open = None
            for task in beside:
                task.cancel()
            await self._apply(session.closed(), socket)

    def _listened(self) -> None:
        """Store when the open connection last showed life; one that does not serve us counts as none."""
        if self._open is not None and self._open[0].serves:
            self._heard_s = self._open[0].heard_s

    async def _tick(self, session: ChannelSession[Any, Data], socket: Socket) -> None:
        with contextlib.suppress(Unavailable):  # the connection ended; the receiving task notices too
            while True:
                await self._clock.sleep(TICK_S)
                await self._apply(session.tick(self._clock.monotonic()), socket)

    async def _tick_on_time(self, session: ChannelSession[Any, Data], socket: Socket) -> None:
        with contextlib.suppress(Unavailable):
            while True:
                await self._changed.wait()
                self._changed.clear()
                promised = list(self._pairs)
                await self._listeners.promises.make(promised)
                gone = [pair for pair in session.pairs if pair not in self._pairs]
                # Pairs added in the meantime have set the event again.
                staying = [pair for pair in promised if pair in self._pairs]
                effects = [*session.drop(gone), *session.add(staying, self._clock.monotonic())]
                await self._apply(effects, socket)

    async def _apply(self, effects: Sequence[Common | Data], socket: Socket) -> None:
        """Execute the session's effects in order."""
        for effect in effects:
            if isinstance(effect, _COMMON):
                await self._obey(effect, socket)
                continue
            inbound = self._feed.line(effect, self._connection)
            if not self._inbox.add(inbound):
                await self._inbox.put(inbound)

    async def _obey(self, effect: Common, socket: Socket) -> None:
        match effect:
            case UnknownFrame(kind, frame, received_ns):
                line = segment.encode(received_ns, records.stream_source(kind, self._connection), frame)
                await self._inbox.put(Inbound(line, []))
            case Send(text):
                await socket.send(text)
            case Hangup(reason):
                log.warning("hanging up", connection=self._connection, reason=reason)
                self._ending = _HUNG_UP
                await self._note(EventKind.STALLED, reason=reason)
                await socket.close()
            case Subscribed(pair, time_in_us):
                self._listeners.fallback.hand_back(pair)
                await self._listeners.promises.acknowledged(pair, time_in_us)
                await self._note(EventKind.SUBSCRIBED, pair=pair)
                log.info("recording", pair=pair)
            case Rejected():
                await self._refused(effect)
            case StatusReport():
                await self._listeners.status.report("ws", effect.system, effect.upcoming_maintenance, effect.emergency)
            case UnreadableFrame(reason, pair):
                await self._note(EventKind.MALFORMED, pair=pair, reason=reason)
                self._metrics.unreadable.inc()
                log.error("frame stored but not understood", reason=reason)
            case _:
                assert_never(effect)

    async def _refused(self, refusal: Rejected) -> None:
        """Hand the pairs to the fallback until they are subscribed; report repeated refusals only once."""
        self._metrics.rejected.inc()
        for pair in refusal.pairs:
            self._listeners.fallback.take_over(pair)
        if refusal.for_good:
            self._listeners.refresh_soon()
        elif refusal.times > 1:
            return
        one = refusal.pairs[0] if len(refusal.pairs) == 1 else None
        many = None if one else len(refusal.pairs)
        await self._note(EventKind.REJECTED, pair=one, pairs=many, reason=refusal.reason, retry_s=refusal.retry_s)
        log.error("subscription refused", pair=one, pairs=many, reason=refusal.reason, retry_in_s=refusal.retry_s)

    async def _note(self, kind: EventKind, *, pair: str | None = None, **detail: object) -> None:
        known = {name: value for name, value in detail.items() if value is not None}
        await self._notes.event(kind, pair=pair, **named(self._feed, self._connection), **known)


def named(feed: Feed[Any], connection: int) -> dict[str, Any]:
    """Return what names a connection in an event: its number, and its channel unless it is that of trades."""
    other = {} if feed.channel == TRADES.name else {"channel": feed.channel}
    return {"connection": connection, **other}
