"""Measure how fast trades are received and made durable, beside bare aiohttp with msgspec parsing in the same run.

A blaster in a process of its own sends frames over loopback as fast as they are read. The target is a ratio of
at least 0.4 (DESIGN 10). Run by hand: python -m benchmarks.ingest [frames]
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import itertools
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import msgspec

from benchmarks.frames import frames
from recorder.archive import locks
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.clock import SystemClock
from recorder.collectors.exchange_status import ExchangeStatus
from recorder.collectors.promises import Promises
from recorder.collectors.stream import Listeners, StreamCollector
from recorder.collectors.trade_feed import TradeFeed
from recorder.collectors.trade_poll import PollCollector
from recorder.core.backoff import Backoff
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
from recorder.core.throttling import Pace
from recorder.disk import Disk
from recorder.ingest.commit import Commit
from recorder.ingest.parked_ids import ParkedIds, waiting
from recorder.journal.journal import Journal
from recorder.net.http import Http, client_session
from recorder.net.websocket import dial
from recorder.ops import process_setup
from recorder.ops.metrics import Metrics
from recorder.runtime.context import Context
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.inbox import Inbox
from recorder.runtime.notes import Notes

TRADES_EACH = 10
ROUNDS = 5


def blast(count: int, port: Connection) -> None:
    """Serve every client that asks for anything ``count`` frames, as fast as it reads."""
    packed = [b"\x81\x7e" + len(frame).to_bytes(2) + frame for frame in frames(count, trades_each=TRADES_EACH)]
    blocks = [b"".join(packed[start : start + 64]) for start in range(0, len(packed), 64)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(
            hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        ).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        await reader.read(2)  # the subscription, or whatever the client says first
        for block in blocks:
            writer.write(block)
            await writer.drain()
        await reader.read()  # until the client has gone
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class BareTrade(msgspec.Struct, gc=False):
    """What a plain client would parse a trade to: exact numbers and a time."""

    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    ord_type: str
    trade_id: int
    timestamp: datetime


class BareFrame(msgspec.Struct, gc=False):
    """A frame of such trades."""

    channel: str
    type: str
    data: list[BareTrade]


async def bare(url: str, count: int) -> float:
    """Receive and parse, and do nothing with it."""
    parse = msgspec.json.Decoder(BareFrame).decode
    async with client_session() as client, client.ws_connect(url, decode_text=False) as socket:
        await socket.send_str("go")
        started = time.perf_counter()
        for _ in range(count):
            parse((await socket.receive()).data)
        return time.perf_counter() - started


async def durable(url: str, count: int) -> float:
    """Receive, parse, journal, sync and claim: until the ledger holds the last id."""
    clock, disk, metrics, ledger, inbox = SystemClock(), Disk(), Metrics(), Ledger(), Inbox()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        layout = Layout(Path(folder))
        create(layout, disk)
        with locks.staging(layout, disk) as staging:
            journal = Journal(layout.data, disk, staging=staging, now_ns=clock.wall_ns())
            async with client_session() as client:
                notes = Notes(inbox, clock)
                exchange = Exchange(Http(client, url, pace=Pace(1), clock=clock), notes, metrics=metrics)
                context = Context(exchange, inbox, notes, metrics, clock)
                parking = ParkedIds(ledger, functools.partial(waiting, layout))
                commit = Commit(journal, ledger, context, sync_every_s=0.1, hole_seen=lambda: None, parking=parking)
                promises = Promises(
                    ledger,
                    context,
                    now_s=lambda: None,
                    latest_s=lambda: clock.wall_ns() / 1e9,
                    earlier_names=lambda _: (),
                    recorded=lambda *_: True,
                )
                nothing: dict[str, Instrument] = {}
                poll = PollCollector(ledger, context, instruments=nothing, promises=promises, refresh_soon=lambda: None)
                stream = StreamCollector(
                    ["BTC/USD"],
                    lambda: dial(client, url),
                    context,
                    feed=TradeFeed(context.metrics),
                    listeners=Listeners(promises, poll, ExchangeStatus(notes), refresh_soon=lambda: None),
                    backoff=Backoff(Random(1)),
                    numbers=itertools.count(1),
                )
                started = time.perf_counter()
                tasks = [asyncio.create_task(stream.run()), asyncio.create_task(commit.run())]
                while ledger.of("BTC/USD").spans.last != count * TRADES_EACH:
                    await asyncio.sleep(0.001)
                took = time.perf_counter() - started
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            journal.close()
    return took


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    process_setup.prepare()  # as the daemon does; it holds for the bare loop too
    here, there = multiprocessing.Pipe()
    blaster = multiprocessing.get_context("spawn").Process(target=blast, args=(count, there), daemon=True)
    blaster.start()
    url = f"ws://127.0.0.1:{here.recv()}/v2"
    ways: dict[str, Callable[[str, int], Awaitable[float]]] = {"bare": bare, "durable": durable}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name].append(asyncio.run(way(url, count)))  # type: ignore[arg-type]
    blaster.kill()
    per_s = {name: count * TRADES_EACH / statistics.median(times) for name, times in taken.items()}
    for name, rate in per_s.items():
        print(f"{name:8} {rate:12,.0f} trades/s   (median of {ROUNDS}, {count:,} frames of {TRADES_EACH} trades)")
    print(f"ratio    {per_s['durable'] / per_s['bare']:12.2f}   (target 0.4)")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
