"""Fakes for the rim: a socket with a script, a REST client with answers, and the context of a task that has these."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qs

from recorder.core.ledger import Ledger
from recorder.errors import ExchangeError, Unavailable
from recorder.journal.segment import Entry
from recorder.kraken.rest_api import Request
from recorder.net.http import Http, HttpAnswer
from recorder.ops.metrics import Metrics
from recorder.runtime.context import Context
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.inbox import Inbox
from recorder.runtime.notes import Notes
from tests.builders import T0_US, events, journalled
from tests.clocks import ManualClock, settle


class Fakes:
    """The context of a task, with a clock that stands, and ``http`` where there is one; and what came of it."""

    def __init__(self, http: object = None, *, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.inbox, self.metrics, self.ledger = Inbox(), Metrics(), Ledger()
        self.notes = Notes(self.inbox, self.clock)
        self.exchange = Exchange(cast("Http", http), self.notes, metrics=self.metrics)
        self.context = Context(self.exchange, self.inbox, self.notes, self.metrics, self.clock)
        self.entries: list[Entry] = []
        """All that was taken from the inbox."""

    def journalled(self) -> list[Entry]:
        """Take what waits for the journal, and claim it, as the commit would; return that alone."""
        waiting = self.inbox.take()
        for inbound in waiting:
            for run in inbound.claims:
                self.ledger.observe(run)
            if inbound.known is not None:
                self.ledger.know(inbound.known)
        taken = journalled(waiting)
        self.entries += taken
        return taken

    def noted(self, *kinds: str) -> list[dict[str, Any]]:
        """Take what waits, and return the notes in it, of these kinds or of all: their detail with kind and pair."""
        found = events(self.journalled())
        return [
            {"kind": event.kind, "pair": event.pair, **json.loads(event.detail)}
            for event in found
            if not kinds or event.kind in kinds
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """Return a metric."""
        return self.metrics.registry.get_sample_value(name, labels)

    async def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        """Let time pass in steps, with time for everyone to do what is due in each."""
        for _ in range(int(seconds / step_s)):
            self.clock.move(step_s)
            await settle()


class FakeSocket:
    """Hands out what is put in; ``None`` ends the connection."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: list[str] = []
        self.closed = False

    async def receive(self) -> bytes:
        received = await self.frames.get()
        if received is None:
            raise Unavailable("the connection ended (test)")
        return received

    async def send(self, text: str) -> None:
        self.sent.append(text)

    async def close(self) -> None:
        self.closed = True
        self.frames.put_nowait(None)


def dialler(
    sockets: Sequence[FakeSocket | Exception],
) -> Callable[[], contextlib.AbstractAsyncContextManager[FakeSocket]]:
    """Return a dial function that gives ``sockets`` one after the other, and then waits for good."""
    left = list(sockets)

    @contextlib.asynccontextmanager
    async def dial() -> AsyncIterator[FakeSocket]:
        if not left:
            await asyncio.Event().wait()
        socket = left.pop(0)
        if isinstance(socket, Exception):
            raise socket
        yield socket

    return dial


def asked(socket: FakeSocket) -> list[tuple[str, list[str]]]:
    """What was asked over a connection: method and symbols."""
    messages = [json.loads(text) for text in socket.sent]
    return [(message["method"], message["params"]["symbol"]) for message in messages if "params" in message]


class Fallback:
    """Notes which pairs it records."""

    def __init__(self) -> None:
        self.pairs: set[str] = set()

    def take_over(self, pair: str) -> None:
        self.pairs.add(pair)

    def hand_back(self, pair: str) -> None:
        self.pairs.discard(pair)


class Promised:
    """Makes promises at once, or once :attr:`may` is set, and remembers them."""

    def __init__(self) -> None:
        self.pairs: list[str] = []
        self.times_us: dict[str, int] = {}
        self.may = asyncio.Event()
        self.may.set()

    async def make(self, pairs: Collection[str]) -> None:
        await self.may.wait()
        self.pairs += [pair for pair in pairs if pair not in self.pairs]

    async def acknowledged(self, pair: str, time_in_us: int | None) -> None:
        if time_in_us is not None:
            self.times_us[pair] = time_in_us


class ToldStanding:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]] = []

    async def report(
        self, source: str, system: str, upcoming_maintenance: list[dict[str, Any]], emergency: list[dict[str, Any]]
    ) -> None:
        self.said.append((source, system, upcoming_maintenance, emergency))


JUMP: Final = 10_000_000


class FakeHttp:
    """Serves Trades of ids ``1..last``, each made id milliseconds after T0, 100 a page; without since the newest.

    Those above ``jump_after`` have ids ten million higher; ``stamps`` are the times in seconds of some, by id.
    """

    def __init__(self, last: int = 10_000) -> None:
        self.last = last
        self.lacking: frozenset[int] = frozenset()
        self.odd: dict[int, str] = {}
        """Rows that stand as this text for those with these ids."""
        self.jump_after = 2**40
        self.stamps: dict[int, int] = {}
        self.odd_last: str | None = None
        self.recv_ns = T0_US * 1000
        self.date_s: int | None = None
        self.problems: list[ExchangeError] = []
        self.asked: list[Request] = []

    async def get(self, request: Request) -> HttpAnswer:
        self.asked.append(request)
        if self.problems:
            raise self.problems.pop(0)
        query = parse_qs(request.target.partition("?")[2])
        first = max(1, self.last - 99)
        if "since" in query:
            first = max(1, -(-(int(query["since"][0]) // 1000 - T0_US) // 1000))
        ids = [n for n in range(first, min(first + 100, self.last + 1)) if n not in self.lacking]
        good = {
            n: f'["63501.60000","0.00100000",{self.stamps.get(n, (T0_US + n * 1000) / 1e6)},"b","l","",'
            f"{n + JUMP * (n > self.jump_after)}]"
            for n in ids
        }
        rows = ",".join(self.odd.get(n, row) for n, row in good.items())
        last = self.odd_last or (str((T0_US + ids[-1] * 1000) * 1000) if ids else query.get("since", ["0"])[0])
        result = f'{{"{query["pair"][0]}":[{rows}],"last":"{last}"}}'.encode()
        return HttpAnswer(self.recv_ns, b'{"error":[],"result":' + result + b"}", result, self.date_s)
