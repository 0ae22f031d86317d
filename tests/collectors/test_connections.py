from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from recorder.collectors.connections import Connections
from recorder.collectors.exchange_status import ExchangeStatus
from recorder.collectors.stream import Listeners
from recorder.collectors.trade_feed import TradeFeed
from recorder.core.backoff import SPACING_S, WINDOW_ATTEMPTS, WINDOW_S
from recorder.core.throttling import FORBIDDEN_PAUSE_S, LONGEST_PAUSE_S
from recorder.errors import ExchangeError, Forbidden, RateLimited, Unavailable
from recorder.net.rate_limit import AttemptLimit
from tests.builders import HEARTBEAT, PAIR, events, frame
from tests.clocks import running, settle
from tests.fakes import Fakes, FakeSocket, Fallback, Promised, asked


class Bench(Fakes):
    """Lines of two pairs at most, over sockets that acknowledge what they are asked for."""

    def __init__(self, folder: Path, *pairs: str) -> None:
        self.held: list[tuple[float, str, str]] = []
        super().__init__(self)
        self.pairs = dict.fromkeys(pairs)
        self.sockets: list[Acknowledging] = []
        self.dialled_s: list[float] = []
        self.refusal: Exception | None = None
        self.feed = TradeFeed(self.metrics)
        self.lines = Connections(
            self.pairs,
            self.dial,
            self.context,
            feed=self.feed,
            listeners=Listeners(Promised(), Fallback(), ExchangeStatus(self.notes), lambda: None),
            attempts=AttemptLimit(folder / "attempts", self.clock),
            random=Random(1),
            pairs_per_connection=2,
        )

    async def pause(self, pause_s: float, *, reason: str, path: str) -> None:
        """Be the REST client, which is told to rest."""
        self.held.append((pause_s, reason, path))

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[FakeSocket]:
        self.dialled_s.append(self.clock.monotonic())
        if self.refusal is not None:
            raise self.refusal
        socket = Acknowledging()
        self.sockets.append(socket)
        try:
            yield socket
        finally:
            socket.closed = True

    async def change(self, *, come: Sequence[str] = (), go: Sequence[str] = ()) -> None:
        self.pairs.update(dict.fromkeys(come))
        for pair in go:
            del self.pairs[pair]
        self.lines.follow([], [])
        await settle()

    async def live(self, seconds: int, *, silent: FakeSocket | None = None) -> None:
        """Let time pass, with a heartbeat a second on every line that is not ``silent``."""
        for _ in range(seconds):
            for socket in self.sockets:
                if socket is not silent:
                    socket.frames.put_nowait(HEARTBEAT)
            await self.pass_time(1)

    def asked(self) -> list[list[tuple[str, list[str]]]]:
        return [asked(socket) for socket in self.sockets]

    def all_noted(self, kind: str) -> list[dict[str, Any]]:
        """Return the detail of all notes of this kind."""
        self.journalled()
        return [json.loads(event.detail) for event in events(self.entries) if event.kind == kind]


class Acknowledging(FakeSocket):
    async def send(self, text: str) -> None:
        await super().send(text)
        message = json.loads(text)
        for symbol in message.get("params", {}).get("symbol", ()):
            result = {"channel": "trade", "symbol": symbol}
            answer = {"method": message["method"], "req_id": message["req_id"], "result": result, "success": True}
            self.frames.put_nowait(json.dumps(answer).encode())


async def test_pairs_that_one_line_holds_are_on_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B")
    async with running(bench.lines):
        assert bench.asked() == [[("subscribe", ["A", "B"])]]
        assert bench.all_noted("connected") == [{"connection": 1}]


async def test_the_end_of_one_line_is_its_own_affair(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C", "D", "E")
    async with running(bench.lines):
        assert bench.asked() == [[("subscribe", ["A", "D"])], [("subscribe", ["B", "E"])], [("subscribe", ["C"])]]
        assert bench.value("recorder_connections_open") == 3
        bench.sockets[1].frames.put_nowait(None)
        await settle()
        assert [pair for pair in bench.pairs if bench.lines.streaming(pair)] == ["A", "C", "D"]
        assert (bench.value("recorder_connections_open"), bench.value("recorder_connections_wanted")) == (2, 3)
        bench.sockets[2].frames.put_nowait(frame(1, 1).replace(b"BTC/USD", b"C"))
        await bench.live(1)
        bench.sockets[3].frames.put_nowait(frame(2, 2).replace(b"BTC/USD", b"B"))
        await settle()
        assert bench.asked()[3:] == [[("subscribe", ["B", "E"])]]
        assert all(bench.lines.streaming(pair) for pair in bench.pairs)
        assert not any(bench.sockets[number].closed for number in (0, 2))
        # A frame is named by its connection, so no two may bear the same number.
        assert [note["connection"] for note in bench.all_noted("connected")] == [1, 2, 3, 4]
        assert [note["connection"] for note in bench.all_noted("disconnected")] == [2]
        trades = [entry.source for entry in bench.entries if entry.source.startswith("ws:trade:")]
        assert trades == ["ws:trade:3", "ws:trade:4"]


async def test_a_line_that_falls_silent_is_replaced_and_told_of_while_the_others_stay(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    async with running(bench.lines):
        silent, heard = bench.sockets
        await bench.live(7, silent=silent)
        assert bench.lines.silent_s() == [7, 0]
        await bench.live(3, silent=silent)
        assert (silent.closed, heard.closed) == (True, False)
        assert [note["connection"] for note in bench.all_noted("stalled")] == [1]
        assert bench.asked()[2:] == [[("subscribe", ["A", "C"])]]


async def test_a_pair_that_comes_joins_a_line_with_room_and_no_other_is_asked_for_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    async with running(bench.lines):
        await bench.change(come=["D"])
        await bench.change(go=["A"])
        await bench.change(come=["E", "F"])
        assert bench.asked() == [
            [("subscribe", ["A", "C"]), ("unsubscribe", ["A"]), ("subscribe", ["F"])],
            [("subscribe", ["B"]), ("subscribe", ["D"])],
            [("subscribe", ["E"])],
        ]
        assert all(bench.lines.streaming(pair) for pair in bench.pairs)


async def test_a_line_that_its_last_pair_has_left_is_closed_for_good(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    async with running(bench.lines):
        await bench.change(go=["B"])
        await bench.live(3)
        assert bench.asked() == [[("subscribe", ["A", "C"])], [("subscribe", ["B"])]]
        assert [socket.closed for socket in bench.sockets] == [False, True]
        (note,) = bench.all_noted("disconnected")
        assert (note["connection"], note["reason"]) == (2, "no pair is left on it")
        assert bench.value("recorder_disconnects_total", reason="emptied") == 1
        assert bench.value("recorder_connections_open") == bench.value("recorder_connections_wanted") == 1
        await bench.change(go=["A", "C"])
        assert bench.lines.silent_s() == []
        await bench.change(come=["A"])
        assert bench.asked()[2:] == [[("subscribe", ["A"])]]


async def test_a_pair_is_subscribed_anew_on_the_line_that_it_is_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    async with running(bench.lines):
        await bench.lines.resubscribe(["B", "Z"])
        assert bench.asked() == [
            [("subscribe", ["A", "C"])],
            [("subscribe", ["B"]), ("unsubscribe", ["B"]), ("subscribe", ["B"])],
        ]


async def test_the_last_trade_of_a_pair_is_found_in_a_mixed_frame(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PAIR, "ETH/USD")
    async with running(bench.lines):
        await settle()
        bench.sockets[0].frames.put_nowait(frame(5, 9))
        await settle()
        heard = bench.feed.last_heard(PAIR)
        assert heard is not None
        assert (heard.trade_id, bench.feed.heard(PAIR)) == (9, 9)
        assert (bench.feed.last_heard("ETH/USD"), bench.feed.heard("ETH/USD")) == (None, 0)


async def test_what_the_exchange_says_of_itself_on_every_line_is_noted_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    status = '{"channel":"status","type":"update","data":[{"system":"%s","connection_id":%d}]}'
    async with running(bench.lines):
        for system in ("online", "maintenance"):
            for number, socket in enumerate(bench.sockets):
                socket.frames.put_nowait((status % (system, number)).encode())
            await settle()
        assert [note["system"] for note in bench.all_noted("maintenance")] == ["online", "maintenance"]


async def test_all_lines_together_make_no_more_attempts_than_the_exchange_bears(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *(f"P{number}" for number in range(12)))
    bench.refusal = Unavailable("cannot reach it")
    async with running(bench.lines):
        while bench.clock.monotonic() < 1.5 * WINDOW_S:
            await bench.live(1)
        crowd = [
            later - first for first, later in zip(bench.dialled_s, bench.dialled_s[WINDOW_ATTEMPTS:], strict=False)
        ]
        assert crowd
        assert min(crowd) >= WINDOW_S
        assert max(after - before for before, after in pairwise(bench.dialled_s)) <= SPACING_S + 1
        bench.refusal = None
        await bench.live(round(6 * (SPACING_S + 1)))
        assert all(bench.lines.streaming(pair) for pair in bench.pairs)


def refusal(kind: type[ExchangeError], retry_after_s: float | None) -> ExchangeError:
    return kind("refused the handshake", retry_after_s)


@pytest.mark.parametrize(
    ("kind", "wanted_s", "pause_s"),
    [
        (RateLimited, 600.0, 600.0),
        (RateLimited, None, FORBIDDEN_PAUSE_S),
        (RateLimited, 1e9, LONGEST_PAUSE_S),
        (Forbidden, 45.0, 45.0),
        (Forbidden, None, FORBIDDEN_PAUSE_S),
    ],
)
async def test_a_refused_handshake_pauses_all_connections_and_rest(
    tmp_path: Path, kind: type[ExchangeError], wanted_s: float | None, pause_s: float
) -> None:
    bench = Bench(tmp_path, "A", "B", "C", "D", "E")
    bench.refusal = refusal(kind, wanted_s)
    async with running(bench.lines):
        assert len(bench.dialled_s) <= 3  # those that dialled at the same moment
        assert bench.held[0] == (pause_s, "refused the handshake", "/v2")
        assert bench.lines.wait_s() == bench.value("recorder_connect_pause_seconds") == pause_s
        dialled = len(bench.dialled_s)
        await bench.live(round(pause_s) - 1)
        assert len(bench.dialled_s) == dialled
        bench.refusal = refusal(kind, wanted_s)
        await bench.live(2)
        assert len(bench.dialled_s) == dialled + 1, "one tries for all"
        bench.refusal = None
        assert bench.lines.wait_s() == pytest.approx(min(2 * pause_s, LONGEST_PAUSE_S), abs=1.0)
        assert [held_s for held_s, *_ in bench.held] == [pause_s] * len(bench.held), "REST is to rest no longer"
        await bench.live(round(bench.lines.wait_s()) + 2)
        assert all(bench.lines.streaming(pair) for pair in bench.pairs)
        assert bench.lines.wait_s() == 0.0


async def test_a_recorder_that_is_started_again_stays_away_too(tmp_path: Path) -> None:
    before = Bench(tmp_path, "A")
    before.refusal = refusal(RateLimited, 600.0)
    async with running(before.lines):
        assert len(before.dialled_s) == 1
    after = Bench(tmp_path, "A")
    async with running(after.lines):
        await after.live(590)
        assert after.dialled_s == []
        await after.live(11)
        assert after.lines.streaming("A")


async def test_a_server_down_until_a_time_is_not_dialled_before_and_rest_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    bench.refusal = refusal(Unavailable, 90.0)
    async with running(bench.lines):
        dialled = len(bench.dialled_s)
        await bench.live(89)
        assert len(bench.dialled_s) == dialled
        bench.refusal = None
        await bench.live(3)
        assert all(bench.lines.streaming(pair) for pair in bench.pairs)
    assert bench.held == []


async def test_what_nobody_has_thought_of_ends_all_lines(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "A", "B", "C")
    bench.refusal = RuntimeError("nobody has thought of it")
    with pytest.raises(ExceptionGroup) as ended:
        await bench.lines.run()
    assert ended.group_contains(RuntimeError, match="nobody has thought of it")
