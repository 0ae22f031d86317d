"""Quotes over the connections that trades have: their journal lines, and the end of their sessions."""

from __future__ import annotations

import asyncio
import itertools
import json
from random import Random

from recorder.collectors import quote_feed
from recorder.collectors.quote_feed import QuoteFeed
from recorder.collectors.stream import StreamCollector
from recorder.core.backoff import Backoff
from recorder.kraken.quote_session import NumberedRows, SessionEnd, SessionsEnded
from recorder.kraken.records import encode_ends
from tests.builders import PAIR, events
from tests.clocks import settle
from tests.fakes import Fakes, FakeSocket, asked, dialler
from tests.kraken.quote_frames import ticker

GONE = b'{"error":"Currency pair not supported ETH/EUR","method":"subscribe","success":false,"symbol":"ETH/EUR"}'


class Bench(Fakes):
    """A stream of quotes of two pairs over these sockets."""

    def __init__(self, *sockets: FakeSocket) -> None:
        super().__init__()
        self.refreshes: list[str] = []
        self.feed = QuoteFeed(self.clock)
        self.stream: StreamCollector[NumberedRows | SessionsEnded] = StreamCollector(
            dict.fromkeys([PAIR, "ETH/EUR"]),
            dialler(sockets),
            self.context,
            feed=self.feed,
            listeners=quote_feed.listeners(lambda: self.refreshes.append("soon")),
            backoff=Backoff(Random(1)),
            numbers=itertools.count(1),
        )


async def test_frames_are_numbered_and_sessions_end_with_their_connection_and_with_the_task() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench(first, second)
    began_ns = bench.clock.wall_ns()
    running = asyncio.create_task(bench.stream.run())
    for frame in (ticker(kind="snapshot"), ticker()):
        first.frames.put_nowait(frame)
        await settle()
    first.frames.put_nowait(None)
    await bench.pass_time(2)
    second.frames.put_nowait(ticker(kind="snapshot"))
    await settle()
    later_ns = bench.clock.wall_ns()
    running.cancel()
    await asyncio.wait([running])
    bench.journalled()
    of_quotes = [(entry.source, entry.payload) for entry in bench.entries if entry.source != "note"]
    assert [source for source, _ in of_quotes] == [
        f"ws:ticker:1?BTC%2FUSD={began_ns}.0",
        f"ws:ticker:1?BTC%2FUSD={began_ns}.1",
        "ended:ticker:1",
        f"ws:ticker:2?BTC%2FUSD={later_ns}.0",
        "ended:ticker:2",
    ]
    assert of_quotes[1][1] == ticker()
    assert of_quotes[2][1] == encode_ends([SessionEnd(PAIR, began_ns, 2, began_ns)])
    details = [json.loads(event.detail) for event in events(bench.entries)]
    assert {detail["channel"] for detail in details} == {"ticker"}
    assert asked(first) == [("subscribe", [PAIR, "ETH/EUR"])]


async def test_a_pair_that_the_exchange_does_not_know_has_the_listing_read() -> None:
    socket = FakeSocket()
    bench = Bench(socket)
    running = asyncio.create_task(bench.stream.run())
    socket.frames.put_nowait(GONE)
    await settle()
    assert bench.refreshes == ["soon"]
    (refused,) = bench.noted("rejected")
    assert (refused["pair"], refused["channel"]) == ("ETH/EUR", "ticker")
    running.cancel()
    await asyncio.wait([running])
