"""Several WebSocket connections, so that the end of one interrupts only some of the pairs.

Contains the assignment of pairs to connections, their number, and the order in which they connect. A single connection
is in ``stream``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import structlog

from recorder.collectors.feed import Feed
from recorder.collectors.stream import Dial, Listeners, StreamCollector, named
from recorder.core.backoff import Backoff, next_delay_s
from recorder.core.connection_sharding import assign_connections
from recorder.core.event_kinds import EventKind
from recorder.core.model import Instrument
from recorder.core.throttling import FIRST_PAUSE_S, FORBIDDEN_PAUSE_S, LONGEST_PAUSE_S
from recorder.errors import ExchangeError, Forbidden, RateLimited
from recorder.net.rate_limit import AttemptLimit
from recorder.net.websocket import Socket
from recorder.runtime.context import Context

PAIRS_PER_CONNECTION: Final = 200
"""Limit of pairs per connection. Kraken publishes none (API.md 8.2). What the end of a connection of this size misses
is fetched within minutes at one request a second, even if no snapshot helps; and all 1,218 pairs listed by Kraken take
seven connections, few enough for the budget of attempts."""

_HANDSHAKE: Final = "/v2"
"""Name of a handshake wherever paths are reported (API.md 8.1)."""
_EMPTIED: Final = "emptied"
"""Another reason for the end of a connection, as counted: its last pair left."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection at a time, its pairs (live), and the task that runs it."""

    pairs: dict[str, None]
    stream: StreamCollector[Any]
    running: asyncio.Task[None]


class Connections:
    """Records the data of a ``feed`` for ``pairs`` (live) over few connections, with a limit of pairs on each.

    A pair keeps its connection, so that no other is subscribed again when one is added or removed.
    """

    def __init__(
        self,
        pairs: Collection[str],
        dial: Dial,
        context: Context,
        *,
        feed: Feed[Any],
        listeners: Listeners,
        attempts: AttemptLimit,
        random: Random,
        pairs_per_connection: int = PAIRS_PER_CONNECTION,
    ) -> None:
        self._feed = feed
        self._pairs = pairs
        self._dial = dial
        self._context = context
        self._clock = context.clock
        self._listeners = listeners
        self._numbers = itertools.count(1)
        self._random = random
        self._pairs_per_connection = pairs_per_connection
        self._connections: list[_Connection] = []
        self._changed = asyncio.Event()
        self._attempts = attempts
        self._connecting = asyncio.Lock()
        self._held_back = False
        self._refusals = 0
        self._due_s = self._clock.monotonic()
        metrics = context.metrics
        metrics.connections_wanted.set_function(lambda: len(self._connections))
        metrics.connect_wait.set_function(self.wait_s)
        metrics.connections_open.set_function(
            lambda: sum(line.stream.connection is not None for line in self._connections)
        )

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:  # noqa: ARG002 -- it compares
        """Adapt the connections to the pairs."""
        self._changed.set()

    def streaming(self, pair: str) -> bool:
        """Return whether the subscription of ``pair`` is acknowledged on an open connection."""
        return any(line.stream.streaming(pair) for line in self._connections)

    def wait_s(self) -> float:
        """Return the seconds until a connection may be opened; 0 if now."""
        return max(0.0, self._due_s - self._clock.monotonic())

    def silent_s(self) -> list[float]:
        """Return, for each connection, the seconds since its last sign of life while it served us."""
        return [line.stream.silent_s() for line in self._connections]

    async def resubscribe(self, pairs: Sequence[str]) -> None:
        """Renew the subscriptions of ``pairs``; those that are not subscribed are left alone."""
        for line in list(self._connections):
            await line.stream.resubscribe(pairs)

    async def run(self) -> None:
        """Record until cancelled. An error that one connection cannot handle ends all, and the daemon."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                await self._close(self._spread(group))
                await self._changed.wait()

    def _spread(self, group: asyncio.TaskGroup) -> list[_Connection]:
        """Assign pairs to connections and open missing ones; return the connections left without pairs."""
        before = len(self._connections)
        shares = assign_connections(
            [line.pairs for line in self._connections], self._pairs, bound=self._pairs_per_connection
        )
        emptied = [line for line, share in zip(self._connections, shares, strict=False) if not share]
        for line, share in zip(self._connections, shares, strict=False):
            if share and share != list(line.pairs):
                line.pairs.clear()
                line.pairs.update(dict.fromkeys(share))
                line.stream.follow()
        self._connections = [line for line in self._connections if line not in emptied]
        self._connections += [self._opened(share, group) for share in shares[before:]]
        if before != len(self._connections) and max(before, len(self._connections)) > 1:
            log.info("pairs spread over connections", pairs=len(self._pairs), connections=len(self._connections))
        return emptied

    def _opened(self, share: Sequence[str], group: asyncio.TaskGroup) -> _Connection:
        pairs = dict.fromkeys(share)
        stream = StreamCollector(
            pairs,
            self._dial_in_turn,
            self._context,
            feed=self._feed,
            listeners=self._listeners,
            backoff=Backoff(self._random),
            numbers=self._numbers,
        )
        return _Connection(pairs, stream, group.create_task(stream.run()))

    async def _close(self, connections: Sequence[_Connection]) -> None:
        for line in connections:
            connection = line.stream.connection
            line.running.cancel()
            await asyncio.wait([line.running])
            if connection is not None:
                self._context.metrics.disconnected(_EMPTIED)
                await self._context.notes.event(
                    EventKind.DISCONNECTED, **named(self._feed, connection), reason="no pair is left on it"
                )

    @contextlib.asynccontextmanager
    async def _dial_in_turn(self) -> AsyncIterator[Socket]:
        async with contextlib.AsyncExitStack() as opened:
            # First come, first served: each waits for those before it, and is counted when it dials.
            async with self._connecting:
                await self._wait_to_connect()
                # After a refusal, one attempt is made on behalf of all.
                socket = await self._dialled(opened) if self._refusals else None
            yield socket or await self._dialled(opened)

    async def _wait_to_connect(self) -> None:
        """Wait until an attempt is allowed, and count it."""
        wait_s = self._attempts.claim()
        if wait_s and not self._held_back and not self._refusals:
            log.warning("too many attempts to connect: the next ones are spaced out", wait_s=round(wait_s, 1))
        self._held_back = wait_s > 0
        while wait_s > 0:
            self._due_s = self._clock.monotonic() + wait_s
            await self._clock.sleep(wait_s)
            wait_s = self._attempts.claim()

    async def _dialled(self, opened: contextlib.AsyncExitStack) -> Socket:
        try:
            socket = await opened.enter_async_context(self._dial())
        except ExchangeError as error:
            await self._postpone(error)
            raise
        self._refusals = 0
        return socket

    async def _postpone(self, error: ExchangeError) -> None:
        """Prevent connections for as long as ``error`` demands; if we are refused, pause REST as well.

        REST pauses no longer than demanded, while the wait of connections grows: otherwise REST could never be used
        while some connections are open and another one is refused repeatedly.
        """
        wanted_s = error.retry_after_s
        if not isinstance(error, RateLimited | Forbidden):
            if wanted_s:
                self._stay_away(error, min(LONGEST_PAUSE_S, wanted_s))
            return
        if self._clock.monotonic() >= self._due_s:  # otherwise this attempt began before another was refused
            self._refusals += 1
        wanted_pause_s = FORBIDDEN_PAUSE_S if wanted_s is None else max(FIRST_PAUSE_S, min(LONGEST_PAUSE_S, wanted_s))
        self._stay_away(error, next_delay_s(self._refusals, first_s=wanted_pause_s, last_s=LONGEST_PAUSE_S))
        await self._context.exchange.pause(wanted_pause_s, reason=str(error), path=_HANDSHAKE)

    def _stay_away(self, error: ExchangeError, pause_s: float) -> None:
        error.retry_after_s = pause_s
        self._attempts.pause(pause_s)
        self._due_s = max(self._due_s, self._clock.monotonic() + pause_s)
        log.warning("connecting paused", pause_s=round(pause_s, 1), reason=str(error))
