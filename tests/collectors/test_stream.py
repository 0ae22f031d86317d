from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from random import Random

from recorder.collectors.stream import Listeners, StreamCollector
from recorder.collectors.trade_feed import TradeFeed
from recorder.core.backoff import Backoff
from recorder.core.trade_ids import runs_of
from recorder.errors import Unavailable
from recorder.journal import segment
from recorder.kraken import records
from tests.builders import HEARTBEAT, PAIR, events, frame
from tests.clocks import running, settle
from tests.fakes import Fakes, FakeSocket, Fallback, Promised, ToldStanding, asked, dialler

ACK = (
    b'{"method":"subscribe","req_id":1,"result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true}'
)
REFUSAL = b'{"error":"Currency pair not supported BTC/USD","method":"subscribe","success":false,"symbol":"BTC/USD"}'


class Bench(Fakes):
    def __init__(self, sockets: Sequence[FakeSocket | Exception]) -> None:
        super().__init__()
        self.promises, self.fallback, self.standing, self.refreshes = Promised(), Fallback(), ToldStanding(), 0
        self.pairs = dict.fromkeys([PAIR])
        self.feed = TradeFeed(self.metrics)
        self.stream = StreamCollector(
            self.pairs,
            dialler(sockets),
            self.context,
            feed=self.feed,
            listeners=Listeners(self.promises, self.fallback, self.standing, self.refresh_soon),
            backoff=Backoff(Random(1)),
            numbers=itertools.count(1),
        )

    def refresh_soon(self) -> None:
        self.refreshes += 1

    def change(self, *, come: Sequence[str] = (), go: Sequence[str] = ()) -> None:
        """Let pairs come and go: they have changed before the stream is told."""
        self.pairs.update(dict.fromkeys(come))
        for pair in go:
            del self.pairs[pair]
        self.stream.follow()

    def all_journalled(self) -> list[segment.Entry]:
        self.journalled()
        return self.entries

    def kinds(self) -> list[str]:
        """Return the kinds of all notes."""
        return [event.kind for event in events(self.all_journalled())]


async def test_a_trade_frame_is_stamped_and_journalled_as_it_came_with_its_trades() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(frame(1, 3))
        await settle()
        (inbound,) = [inbound for inbound in bench.inbox.take() if inbound.claims]
    entry = segment.decode(inbound.line.rstrip(b"\n"))
    assert entry.payload == frame(1, 3)
    assert entry.source == "ws:trade:1"
    assert entry.recv_ns == bench.clock.wall_ns()
    assert inbound.claims == runs_of(records.trades(entry))


async def test_the_highest_id_that_it_brought_of_a_pair_is_known_whatever_comes_again() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench.stream):
        first.frames.put_nowait(frame(5, 9))
        first.frames.put_nowait(frame(3, 7))
        await settle()
        assert bench.feed.heard(PAIR) == 9
        first.frames.put_nowait(None)
        await bench.pass_time(2)
        second.frames.put_nowait(frame(8, 8, kind="snapshot"))
        await settle()
        assert bench.feed.heard(PAIR) == 9


async def test_a_lone_id_far_above_is_not_the_highest_for_ever() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        await settle()
        odd = frame(9, 9).replace(b'"trade_id":9', b'"trade_id":1099511627776')
        for sent, highest in ((odd, 2**40), (frame(9, 9), 9), (frame(8, 8), 9)):
            socket.frames.put_nowait(sent)
            await settle()
            assert bench.feed.heard(PAIR) == highest


async def test_it_subscribes_at_once_and_notes_what_was_answered() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        assert json.loads(socket.sent[0])["params"] == {"channel": "trade", "symbol": [PAIR], "snapshot": True}
        socket.frames.put_nowait(ACK)
        socket.frames.put_nowait(REFUSAL)
        await settle()
        assert bench.kinds() == ["connected", "subscribed", "rejected"]
        assert [entry.source for entry in bench.all_journalled() if entry.source != "note"] == ["ws:answer:1"] * 2


async def test_after_the_end_of_a_connection_it_dials_again_within_a_second() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench.stream):
        first.frames.put_nowait(None)
        await settle()
        await bench.pass_time(1)
        assert second.sent
        assert bench.kinds() == ["connected", "disconnected", "connected"]
        second.frames.put_nowait(frame(1, 1))
        await settle()
        assert bench.all_journalled()[-1].source == "ws:trade:2"


async def test_attempts_that_fail_are_tried_again_for_good() -> None:
    socket = FakeSocket()
    bench = Bench([Unavailable("cannot reach it")] * 6 + [socket])
    async with running(bench.stream):
        for _ in range(70):
            if not socket.sent:
                await bench.pass_time(1)
        assert bench.kinds() == ["disconnected"] * 6 + ["connected"]


async def test_after_a_session_that_worked_the_next_follows_within_a_second() -> None:
    sockets = [FakeSocket() for _ in range(8)]
    bench = Bench(sockets)
    async with running(bench.stream):
        for socket, after in itertools.pairwise(sockets):
            socket.frames.put_nowait(ACK)
            for _ in range(6):
                socket.frames.put_nowait(HEARTBEAT)
                await bench.pass_time(1)
            socket.frames.put_nowait(None)
            await settle()
            await bench.pass_time(1)
            assert after.sent


async def test_sessions_that_end_at_once_are_followed_ever_later_whatever_they_said() -> None:
    sockets = [FakeSocket() for _ in range(20)]
    bench = Bench(sockets)
    async with running(bench.stream):
        for _ in range(60):
            for socket in sockets:
                if socket.sent and not socket.closed:
                    socket.frames.put_nowait(ACK)
                    socket.frames.put_nowait(HEARTBEAT)
                    await socket.close()
            await bench.pass_time(1)
        assert sum(bool(socket.sent) for socket in sockets) <= 12


async def test_a_silent_connection_is_hung_up_within_ten_seconds_and_replaced() -> None:
    silent, fresh = FakeSocket(), FakeSocket()
    bench = Bench([silent, fresh])
    async with running(bench.stream):
        silent.frames.put_nowait(ACK)
        await settle()
        await bench.pass_time(6)
        assert not silent.closed
        await bench.pass_time(4)
        assert silent.closed
        await bench.pass_time(1)
        assert fresh.sent
        assert "stalled" in bench.kinds()


class Ponging(FakeSocket):
    """Answers pings, as a gateway does that has nothing behind it any more."""

    pongs = 0

    async def send(self, text: str) -> None:
        await super().send(text)
        if json.loads(text)["method"] == "ping":
            self.pongs += 1
            self.frames.put_nowait(b'{"method":"pong"}')


async def test_a_connection_that_only_answers_pings_is_replaced_within_ten_seconds() -> None:
    half_dead, fresh = Ponging(), FakeSocket()
    bench = Bench([half_dead, fresh])
    async with running(bench.stream):
        half_dead.frames.put_nowait(ACK)
        await settle()
        await bench.pass_time(7)
        assert half_dead.pongs > 0
        assert bench.stream.silent_s() == 7
        await bench.pass_time(3)
        assert half_dead.closed
        assert bench.kinds() == ["connected", "subscribed", "stalled", "disconnected", "connected"]
        await bench.pass_time(1)
        assert fresh.sent
        assert bench.stream.silent_s() == 11


async def test_connections_that_only_acknowledge_never_count_as_heard() -> None:
    sockets = [Ponging() for _ in range(4)]
    bench = Bench(sockets)
    async with running(bench.stream):
        for seconds in range(40):
            for socket in sockets:
                if len(socket.sent) == 1:
                    socket.frames.put_nowait(ACK)
            assert bench.stream.silent_s() == seconds
            await bench.pass_time(1)
        assert bench.kinds().count("subscribed") >= 3
        last = next(socket for socket in sockets if socket.sent and not socket.closed)
        last.frames.put_nowait(HEARTBEAT)
        await settle()
        assert bench.stream.silent_s() == 0


async def test_pongs_keep_a_connection_whose_only_pair_is_refused() -> None:
    socket = Ponging()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(REFUSAL)
        await bench.pass_time(60)
        assert not socket.closed
        assert bench.stream.silent_s() <= 5


async def test_heartbeats_keep_a_quiet_market_connected_and_are_not_journalled() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(ACK)
        for _ in range(60):
            socket.frames.put_nowait(HEARTBEAT)
            await bench.pass_time(1)
        assert not socket.closed
        assert bench.kinds() == ["connected", "subscribed"]
        assert all(b"heartbeat" not in entry.payload for entry in bench.all_journalled())


async def test_a_frame_that_cannot_be_read_is_kept_counted_and_reported() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(b"\xff\x00 no json")
        socket.frames.put_nowait(frame(1, 1).replace(b"63501.6", b'"abc"'))
        await settle()
        kept = [entry.payload for entry in bench.all_journalled() if entry.source == "ws:unreadable:1"]
        assert kept == [b"\xff\x00 no json", frame(1, 1).replace(b"63501.6", b'"abc"')]
        assert bench.kinds().count("malformed") == 2
        assert bench.value("recorder_frames_unreadable_total") == 2


async def test_a_pair_that_is_refused_is_recorded_by_the_fallback_until_it_is_accepted() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench.stream):
        first.frames.put_nowait(REFUSAL)
        await settle()
        assert bench.fallback.pairs == {PAIR}
        first.frames.put_nowait(None)
        await bench.pass_time(2)
        second.frames.put_nowait(ACK)
        await settle()
        assert bench.fallback.pairs == set()


async def test_pairs_refused_for_now_are_polled_and_requested_again() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    bench.change(come=["ETH/USD"])
    async with running(bench.stream):
        for symbols in ([PAIR, "ETH/USD"], [PAIR]):
            assert asked(socket)[-1] == ("subscribe", symbols)
            no = {"error": "Exceeded msg rate", "method": "subscribe", "req_id": len(asked(socket)), "success": False}
            socket.frames.put_nowait(json.dumps(no).encode())
            await settle()
            for _ in range(5):
                socket.frames.put_nowait(HEARTBEAT)
                await bench.pass_time(1)
            assert bench.fallback.pairs == {PAIR, "ETH/USD"}
        assert asked(socket)[2:] == [("subscribe", ["ETH/USD"])]
        socket.frames.put_nowait(ACK)
        socket.frames.put_nowait(ACK.replace(b"BTC/USD", b"ETH/USD"))
        await settle()
        assert bench.fallback.pairs == set()
    (noted,) = bench.noted("rejected")
    assert (noted["pairs"], noted["retry_s"], noted["reason"]) == (2, 5.0, "Exceeded msg rate")
    assert bench.value("recorder_subscriptions_refused_total") == 2
    assert bench.refreshes == 0


async def test_a_send_that_fails_in_a_tick_ends_in_a_new_connection() -> None:
    class Deaf(FakeSocket):
        async def send(self, text: str) -> None:
            if self.sent:
                self.frames.put_nowait(None)
                raise Unavailable("the connection ended while sending")
            await super().send(text)

    first, second = Deaf(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench.stream):
        first.frames.put_nowait(ACK)
        await bench.pass_time(8)  # long enough for a ping
        assert second.sent


async def test_a_refusal_has_the_listing_read_soon_only_if_the_pair_is_not_known() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(REFUSAL.replace(b"Currency pair not supported BTC/USD", b"Try again later"))
        await settle()
        assert (bench.fallback.pairs, bench.refreshes) == ({PAIR}, 0)
        socket.frames.put_nowait(REFUSAL)
        await settle()
        assert (bench.fallback.pairs, bench.refreshes) == ({PAIR}, 1)


async def test_a_status_is_journalled_and_told_with_all_it_announces() -> None:
    status = b'{"channel":"status","type":"update","data":[{"system":"maintenance","connection_id":7%s}]}'
    planned = b',"upcoming_maintenance":[{"event_id":1}],"emergency":[{"event_id":2}]'
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(status % b"")
        socket.frames.put_nowait(status % planned)
        await settle()
        assert bench.standing.said == [
            ("ws", "maintenance", [], []),
            ("ws", "maintenance", [{"event_id": 1}], [{"event_id": 2}]),
        ]
        kept = [entry.payload for entry in bench.all_journalled() if entry.source == "ws:status:1"]
        assert kept == [status % b"", status % planned]


async def test_pairs_that_come_and_go_are_followed_on_the_open_connection_at_once() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(ACK)
        await settle()
        bench.change(come=["ETH/USD", "XRP/USD"])
        await settle()
        bench.change(come=["SOL/USD"], go=[PAIR, "XRP/USD"])
        await settle()
        assert asked(socket) == [
            ("subscribe", [PAIR]),
            ("subscribe", ["ETH/USD", "XRP/USD"]),
            ("unsubscribe", [PAIR, "XRP/USD"]),
            ("subscribe", ["SOL/USD"]),
        ]
        assert not socket.closed


async def test_a_later_connection_begins_with_the_pairs_of_its_time() -> None:
    first, second = FakeSocket(), FakeSocket()
    bench = Bench([first, second])
    async with running(bench.stream):
        first.frames.put_nowait(None)
        await settle()
        bench.change(come=["ETH/USD"], go=[PAIR])
        await bench.pass_time(2)
        assert asked(first) == [("subscribe", [PAIR])]
        assert asked(second) == [("subscribe", ["ETH/USD"])]


async def test_pair_changes_during_dialling_are_applied_once_it_is_open() -> None:
    socket, ringing = FakeSocket(), asyncio.Event()
    bench = Bench([])

    @contextlib.asynccontextmanager
    async def dial() -> AsyncIterator[FakeSocket]:
        await ringing.wait()
        yield socket

    bench.stream._dial = dial
    async with running(bench.stream):
        bench.change(come=["ETH/USD"], go=[PAIR])
        ringing.set()
        await settle()
        subscribed: set[str] = set()
        for method, symbols in asked(socket):
            subscribed = subscribed | set(symbols) if method == "subscribe" else subscribed - set(symbols)
        assert subscribed == {"ETH/USD"}


async def test_pairs_dropped_while_subscribing_are_unsubscribed_afterwards() -> None:
    class Slow(FakeSocket):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = asyncio.Event()

        async def send(self, text: str) -> None:
            if self.sent and '"method":"subscribe"' in text:
                await self.go_on.wait()
            await super().send(text)

    socket = Slow()
    bench = Bench([socket])
    many = [f"A{number}/USD" for number in range(150)]
    bench.change(come=many)
    async with running(bench.stream):
        bench.change(come=["ETH/USD"], go=[many[149]])
        await settle()
        socket.go_on.set()
        await settle()
        assert asked(socket) == [
            ("subscribe", [PAIR, *many[:99]]),
            ("subscribe", many[99:]),
            ("unsubscribe", [many[149]]),
            ("subscribe", ["ETH/USD"]),
        ]


async def test_a_pair_that_was_left_and_refused_for_it_is_not_given_to_the_fallback() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        bench.change(go=[PAIR])
        await settle()
        socket.frames.put_nowait(REFUSAL)
        socket.frames.put_nowait(REFUSAL.replace(b"Currency pair not supported BTC/USD", b"Subscription Not Found"))
        await settle()
        assert bench.fallback.pairs == set()
        assert bench.refreshes == 0
        assert "rejected" not in bench.kinds()


async def test_a_pair_is_resubscribed_only_on_the_connection_it_is_subscribed_on() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    assert not bench.stream.streaming(PAIR)
    await bench.stream.resubscribe([PAIR])  # before there is a connection: nothing
    async with running(bench.stream):
        assert not bench.stream.streaming(PAIR)
        await bench.stream.resubscribe([PAIR])  # nor before it was acknowledged
        assert [method for method, _ in asked(socket)] == ["subscribe"]
        socket.frames.put_nowait(ACK)
        await settle()
        assert bench.stream.streaming(PAIR)
        await bench.stream.resubscribe([PAIR, "ETH/USD"])
        assert asked(socket)[1:] == [("unsubscribe", [PAIR]), ("subscribe", [PAIR])]
        assert not bench.stream.streaming(PAIR)
        socket.frames.put_nowait(None)
        await settle()
        assert not bench.stream.streaming(PAIR)
        await bench.stream.resubscribe([PAIR])
    assert len(asked(socket)) == 3


async def test_ends_of_connections_are_counted_by_who_ended_them() -> None:
    ended, silent, fresh = FakeSocket(), FakeSocket(), FakeSocket()
    bench = Bench([Unavailable("cannot reach it"), ended, silent, fresh])
    async with running(bench.stream):
        await bench.pass_time(2)
        assert bench.stream.connection == 2
        ended.frames.put_nowait(None)
        await settle()
        assert bench.stream.connection is None
        await bench.pass_time(20)
        assert fresh.sent
        counts = [bench.value("recorder_disconnects_total", reason=why) for why in ("not_opened", "ended", "hung_up")]
        assert counts == [1, 1, 1]
        assert bench.value("recorder_connects_total") == 3


async def test_only_a_connection_that_answers_a_subscription_counts_as_heard() -> None:
    mute, heard = FakeSocket(), FakeSocket()
    bench = Bench([mute, heard])
    async with running(bench.stream):
        for _ in range(5):  # frames, but none for us
            mute.frames.put_nowait(HEARTBEAT)
            await bench.pass_time(1)
        assert bench.stream.silent_s() == 5
        mute.frames.put_nowait(ACK)
        await settle()
        assert bench.stream.silent_s() == 0
        await bench.pass_time(3)
        assert bench.stream.silent_s() == 3
        mute.frames.put_nowait(None)
        await bench.pass_time(2)
        assert heard.sent  # a new connection, which has said nothing yet
        assert bench.stream.silent_s() == 5


async def test_no_pair_is_subscribed_before_it_is_promised() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    bench.promises.may.clear()
    async with running(bench.stream):
        await bench.pass_time(30)
        assert not socket.sent
        bench.promises.may.set()
        await settle()
        assert asked(socket) == [("subscribe", [PAIR])]
        bench.promises.may.clear()
        bench.change(come=["ETH/USD", "XRP/USD"])
        await settle()
        bench.change(go=["XRP/USD"])
        await settle()
        assert asked(socket) == [("subscribe", [PAIR])]
        bench.promises.may.set()
        await settle()
        assert asked(socket)[1:] == [("subscribe", ["ETH/USD"])]
    assert bench.promises.pairs[:2] == [PAIR, "ETH/USD"]


async def test_when_the_exchange_took_a_subscription_is_told() -> None:
    socket = FakeSocket()
    bench = Bench([socket])
    async with running(bench.stream):
        socket.frames.put_nowait(ACK[:-1] + b',"time_in":"2026-09-25T17:48:24.745996Z"}')
        await settle()
    assert bench.promises.times_us == {PAIR: 1_790_358_504_745_996}
