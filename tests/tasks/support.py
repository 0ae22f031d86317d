"""Fakes for the rim: a socket with a script, a REST client with answers, and an archive's folders."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from recorder.archive import locks
from recorder.archive.append import TradeArchive
from recorder.archive.layout import Layout
from recorder.archive.opening import create
from recorder.archive.segment_tables import SegmentTables
from recorder.core.model import Event, Instrument, Source, Trade
from recorder.disk import Disk
from recorder.errors import ExchangeError, Unavailable
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import parse
from recorder.kraken.rest import Request
from recorder.net.http import Answer
from recorder.tasks.inbox import Inbox
from tests.sandbox.conftest import ManualClock

PAIR = "BTC/USD"
HEARTBEAT = b'{"channel":"heartbeat"}'
T0_US = 1_783_465_205_000_000

BTC = Instrument(
    pair=PAIR,
    key="XXBTZUSD",
    altname="XBTUSD",
    wsname="XBT/USD",
    base="XXBT",
    quote="ZUSD",
    pair_decimals=1,
    lot_decimals=8,
    cost_decimals=5,
    tick_size="0.1",
    ordermin="0.00005",
    costmin="0.5",
    status="online",
)


def trade(trade_id: int, *, pair: str = PAIR, source: str = "ws") -> Trade:
    """A trade made ``trade_id`` milliseconds after T0."""
    time_us = T0_US + trade_id * 1000
    received_us = time_us + 30_000 if source == "ws" else None
    kind: Source = "ws" if source == "ws" else "rest"
    return Trade(pair, trade_id, time_us, Decimal("63501.6"), Decimal("0.001"), "buy", "limit", "", kind, received_us)


def trades(first: int, last: int, **rest: str) -> list[Trade]:
    return [trade(trade_id, **rest) for trade_id in range(first, last + 1)]


def frame(first: int, last: int, *, kind: str = "update") -> bytes:
    """The v2 frame of ``trades(first, last)``."""
    rows = ",".join(
        f'{{"symbol":"BTC/USD","side":"buy","price":63501.6,"qty":0.00100000,"ord_type":"limit","trade_id":{n},'
        f'"timestamp":"2026-07-07T23:00:{5 + n // 1000:02d}.{n % 1000:03d}000Z"}}'
        for n in range(first, last + 1)
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}'.encode()


class Shop:
    """An archive's folder, opened for writing."""

    def __init__(self, data: Path, staging: Path) -> None:
        self.layout = Layout(data)
        self.disk = Disk()
        self.journal = Journal(data, self.disk, staging=staging, now_ns=1)
        self.archive = TradeArchive(self.layout, self.disk, staging=staging)
        self.tables = SegmentTables(self.layout, self.disk, staging=staging)

    def ids(self, pair: str = PAIR) -> list[int]:
        return [i for span in self.archive.coverage.spans(pair) for i in range(span.first, span.last + 1)]


@contextlib.contextmanager
def shop(data: Path) -> Iterator[Shop]:
    layout, disk = Layout(data), Disk()
    create(layout, disk)
    with locks.staging(layout, disk) as staging:
        opened = Shop(data, staging)
        try:
            yield opened
        finally:
            opened.journal.close()


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


class ToldStanding:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]] = []

    async def told(
        self, source: str, system: str, upcoming_maintenance: list[dict[str, Any]], emergency: list[dict[str, Any]]
    ) -> None:
        self.said.append((source, system, upcoming_maintenance, emergency))


def journalled(inbox: Inbox) -> list[segment.Entry]:
    """Take what waits in ``inbox``, as it will stand in the journal."""
    return [segment.decode(inbound.line.rstrip(b"\n")) for inbound in inbox.take()]


def events(entries: Iterable[segment.Entry]) -> list[Event]:
    """The events among ``entries``, as the drain finds them."""
    found = [parse.journalled_event(entry.source, entry.payload, entry.recv_ns) for entry in entries]
    return [event for event in found if event is not None]


class Task(Protocol):
    """What runs until it is cancelled."""

    async def run(self) -> None: ...


@contextlib.asynccontextmanager
async def running(*tasks: Task) -> AsyncIterator[None]:
    """Run ``tasks``, and end them at last; what one of them failed with meanwhile is raised."""
    started = [asyncio.create_task(task.run()) for task in tasks]
    try:
        await settle()
        yield
    finally:
        for task in started:
            task.cancel()
        for ended in await asyncio.gather(*started, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def settle_until(true: Callable[[], bool]) -> None:
    """Let tasks and their threads go on until ``true()`` is."""
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.001)


async def asleep(clock: ManualClock, sleepers: int = 1) -> None:
    """Let tasks and their threads go on until so many sleep by the clock (:attr:`ManualClock.sleepers`)."""
    await settle_until(lambda: clock.sleepers == sleepers)


class FakeHttp:
    """Serves Trades of ids ``1..last``, each made id milliseconds after T0, 100 a page; without since the newest."""

    def __init__(self, last: int = 10_000) -> None:
        self.last = last
        self.lacking: frozenset[int] = frozenset()
        self.odd_last: str | None = None
        self.recv_ns = 1
        self.date_s: int | None = None
        self.problems: list[ExchangeError] = []
        self.asked: list[Request] = []

    async def get(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.problems:
            raise self.problems.pop(0)
        query = parse_qs(request.target.partition("?")[2])
        first = max(1, self.last - 99)
        if "since" in query:
            first = max(1, -(-(int(query["since"][0]) // 1000 - T0_US) // 1000))
        ids = [n for n in range(first, min(first + 100, self.last + 1)) if n not in self.lacking]
        rows = ",".join(f'["63501.60000","0.00100000",{(T0_US + n * 1000) / 1e6},"b","l","",{n}]' for n in ids)
        last = self.odd_last or (str((T0_US + ids[-1] * 1000) * 1000) if ids else query.get("since", ["0"])[0])
        result = f'{{"{query["pair"][0]}":[{rows}],"last":"{last}"}}'.encode()
        return Answer(self.recv_ns, b'{"error":[],"result":' + result + b"}", result, self.date_s)
