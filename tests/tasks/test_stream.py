from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from random import Random

from recorder.core.backoff import Backoff
from recorder.core.ledger import runs
from recorder.errors import Unavailable
from recorder.journal import segment
from recorder.kraken.parse import journalled_trades
from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbox
from recorder.tasks.stream import Stream
from tests.sandbox.conftest import ManualClock
from tests.tasks.support import PAIR, FakeSocket, dialler, frame, settle

ACK = (
    b'{"method":"subscribe","req_id":1,"result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true}'
)
REFUSAL = b'{"error":"Currency pair not supported BTC/USD","method":"subscribe","success":false,"symbol":"BTC/USD"}'
HEARTBEAT = b'{"channel":"heartbeat"}'


class Fallback:
    """Notes which pairs it records."""

    def __init__(self) -> None:
        self.pairs: set[str] = set()

    def take_over(self, pair: str) -> None:
        self.pairs.add(pair)

    def hand_back(self, pair: str) -> None:
        self.pairs.discard(pair)


class Bench:
    def __init__(self, sockets: Sequence[FakeSocket | Exception]) -> None:
        self.clock, self.inbox, self.metrics = ManualClock(), Inbox(), Metrics()
        self.fallback = Fallback()
        self.stream = Stream(
            [PAIR],
            dialler(sockets),
            self.inbox,
            fallback=self.fallback,
            backoff=Backoff(Random(1)),
            clock=self.clock,
            metrics=self.metrics,
        )
        self.entries: list[segment.Entry] = []

    def journalled(self) -> list[segment.Entry]:
        self.entries += [segment.decode(inbound.line.rstrip(b"\n")) for inbound in self.inbox.take()]
        return self.entries

    def notes(self) -> list[str]:
        return [json.loads(entry.payload)["note"] for entry in self.journalled() if entry.source == segment.NOTE]

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.move(1.0)
            await settle()


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.stream.run())
    await settle()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_trade_frame_is_stamped_and_journalled_as_it_came_with_its_trades() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench):
        socket.frames.put_nowait(frame(1, 3))
        await settle()
        (inbound,) = [inbound for inbound in bench.inbox.take() if inbound.claims]
    entry = segment.decode(inbound.line.rstrip(b"\n"))
    assert entry.payload == frame(1, 3)
    assert entry.source == "ws:trade:1"
    assert entry.recv_ns == bench.clock.wall_ns()
    assert inbound.claims == runs(journalled_trades(entry.source, entry.payload, entry.recv_ns))


async def test_it_subscribes_at_once_and_notes_what_was_answered() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench):
        assert json.loads(socket.sent[0])["params"] == {"channel": "trade", "symbol": [PAIR], "snapshot": True}
        socket.frames.put_nowait(ACK)
        socket.frames.put_nowait(REFUSAL)
        await settle()
        assert bench.notes() == ["connected", "subscribed", "rejected"]
        assert [entry.source for entry in bench.journalled() if entry.source != "note"] == ["ws:answer:1"] * 2


async def test_after_the_end_of_a_connection_it_dials_again_within_a_second() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench):
        first.frames.put_nowait(None)
        await settle()
        await bench.pass_time(1)
        assert second.sent
        assert bench.notes() == ["connected", "disconnected", "connected"]
        second.frames.put_nowait(frame(1, 1))
        await settle()
        assert bench.journalled()[-1].source == "ws:trade:2"


async def test_attempts_that_fail_are_tried_again_for_good() -> None:
    socket = FakeSocket()
    bench = Bench([Unavailable("cannot reach it")] * 6 + [socket])
    async with running(bench):
        for _ in range(70):
            if not socket.sent:
                await bench.pass_time(1)
        assert bench.notes() == ["disconnected"] * 6 + ["connected"]


async def test_a_silent_connection_is_hung_up_within_ten_seconds_and_replaced() -> None:
    silent, fresh = FakeSocket(), FakeSocket()
    bench = Bench([silent, fresh])
    async with running(bench):
        silent.frames.put_nowait(ACK)
        await settle()
        await bench.pass_time(6)
        assert not silent.closed
        await bench.pass_time(4)
        assert silent.closed
        await bench.pass_time(1)
        assert fresh.sent
        assert "stalled" in bench.notes()


async def test_heartbeats_keep_a_quiet_market_connected_and_are_not_journalled() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench):
        socket.frames.put_nowait(ACK)
        for _ in range(60):
            socket.frames.put_nowait(HEARTBEAT)
            await bench.pass_time(1)
        assert not socket.closed
        assert bench.notes() == ["connected", "subscribed"]
        assert all(b"heartbeat" not in entry.payload for entry in bench.journalled())


async def test_a_frame_that_cannot_be_read_is_kept_counted_and_reported() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench):
        socket.frames.put_nowait(b"\xff\x00 no json")
        socket.frames.put_nowait(frame(1, 1).replace(b"63501.6", b'"abc"'))
        await settle()
        kept = [entry.payload for entry in bench.journalled() if entry.source == "ws:unreadable:1"]
        assert kept == [b"\xff\x00 no json", frame(1, 1).replace(b"63501.6", b'"abc"')]
        assert bench.notes().count("malformed") == 2
        assert bench.metrics.registry.get_sample_value("recorder_frames_unreadable_total") == 2


async def test_a_pair_that_is_refused_is_recorded_by_the_fallback_until_it_is_accepted() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench):
        first.frames.put_nowait(REFUSAL)
        await settle()
        assert bench.fallback.pairs == {PAIR}
        first.frames.put_nowait(None)
        await bench.pass_time(2)
        second.frames.put_nowait(ACK)
        await settle()
        assert bench.fallback.pairs == set()


async def test_a_send_that_fails_in_a_tick_ends_in_a_new_connection() -> None:
    class Deaf(FakeSocket):
        async def send(self, text: str) -> None:
            if self.sent:
                self.frames.put_nowait(None)
                raise Unavailable("the connection ended while sending")
            await super().send(text)

    first, second = Deaf(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench):
        first.frames.put_nowait(ACK)
        await bench.pass_time(8)  # long enough for a ping
        assert second.sent
