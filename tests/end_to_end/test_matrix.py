"""The fault matrix: whatever goes wrong, the archive becomes the truth, and the exchange is asked with manners.

Recorder and sandbox live by one clock that goes a hundred times as fast, except where a whole process is killed. What
stands elsewhere is not repeated: outages under load (test_outage), kills at random (test_crash), polling
(test_polling).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl

import pytest

from recorder import app, connect
from recorder.archive import load_ledger, quarantine, stored_evidence
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.config import Config, OhlcConfig, TradesConfig
from recorder.core.evidence import Promise
from recorder.core.ledger import Ledger
from recorder.core.report_limit import MOST
from recorder.core.trade_ids import Span, Spans
from recorder.journal import live_read
from recorder.kraken import records
from recorder.ops import archive_status
from recorder.ops.certificates import certify
from recorder.sandbox.fault_injection import rest_faults
from recorder.sandbox.fault_injection.rest_faults import HANDSHAKE, Beside
from recorder.sandbox.fault_injection.subscription_faults import TOO_FAST, SubscriptionFaults
from recorder.sandbox.fault_injection.websocket_faults import Stall
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import CALM_S, FORMS, Throttle
from tests.archives import forget_promise
from tests.end_to_end.harness import (
    PATIENCE_S,
    REPOSITORY,
    Process,
    archived,
    caught_up,
    config_for,
    environ_for,
    recording,
    rows,
    until,
)

START_NS = 1_783_425_605_562_702_999
"""2026-07-07T12:00:05Z: no midnight is near."""
TURN_S = 0.1
"""How far the clock goes in one turn of the loop: a heartbeat comes every tenth turn."""
PER_S = 1.0
LATE_S = 4 * TURN_S
"""How long a request or an answer can be under way: the clock turns meanwhile."""
BTC = "BTC/USD"


class FastClock:
    """Time that goes ``turn_s`` in each turn of the loop, a millisecond or more: who is busy is not late by it."""

    def __init__(self) -> None:
        self.turn_s = TURN_S
        self._now_s = 0.0
        self._numbered = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now_s

    def wall_ns(self) -> int:
        return START_NS + int(self._now_s * 1e9)

    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._numbered += 1
        heapq.heappush(self._sleepers, (self._now_s + delay_s, self._numbered, woken))
        await woken

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self._now_s += self.turn_s
            while self._sleepers and self._sleepers[0][0] <= self._now_s:
                woken = heapq.heappop(self._sleepers)[2]
                if not woken.done():
                    woken.set_result(None)

    def forward(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._now_s += seconds

    async def passed(self, seconds: float, *, turn_s: float = TURN_S) -> None:
        """Return once so much time has passed, in turns of this length."""
        self.turn_s = turn_s
        await self.sleep(seconds)
        self.turn_s = TURN_S


@dataclass
class Bench:
    """A sandbox, a recorder of it, and the clock of both."""

    folder: Path
    clock: FastClock
    sandbox: Sandbox
    first_ids: dict[str, int] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def trades(self) -> list[LoggedRequest]:
        return self.sandbox.requests.to("/0/public/Trades")

    def config(self, *, pace: float = PER_S, **changes: object) -> Config:
        config = config_for(self.sandbox, self.data, pace=pace)
        return config.model_copy(update={"ohlc": OhlcConfig(timeframes=()), **changes})

    @contextlib.asynccontextmanager
    async def recording(self, config: Config | None = None, rhythm: app.Intervals | None = None) -> AsyncIterator[None]:
        """Record; on leaving, let the market stand still until all is held."""
        stop = app.Stop()
        record = app.record(config or self.config(), stop, clock=self.clock, random=Random(1), rhythm=rhythm)
        recording = asyncio.create_task(record)
        try:
            await until(lambda: self.held() == set(self.sandbox.last_ids()), what="it records every pair")
            yield
            self.sandbox.freeze()
            await until(self.whole, what="all is held")
        finally:
            stop.signal()
            await recording

    @contextlib.asynccontextmanager
    async def begun(self, config: Config | None = None, rhythm: app.Intervals | None = None) -> AsyncIterator[None]:
        """Record; on leaving, let the market stand still until all that is promised is held."""
        stop = app.Stop()
        record = app.record(config or self.config(), stop, clock=self.clock, random=Random(1), rhythm=rhythm)
        recording = asyncio.create_task(record)
        try:
            yield
            self.sandbox.freeze()
            await until(
                lambda: self.whole() and not archive_status.everything(self.data).unanchored, what="all is held"
            )
        finally:
            stop.signal()
            await recording

    def streamed(self) -> list[set[str]]:
        """The pairs of each connection."""
        return [client.connection.symbols for client in self.sandbox.clients._clients]

    def held(self) -> set[str]:
        return {pair.pair for pair in archive_status.read(self.data)} if (self.data / "trades").is_dir() else set()

    def whole(self) -> bool:
        return caught_up(self.data, self.sandbox.last_ids())

    async def hears(self, *, more: int = 1) -> None:
        """Return once so many more trades are held than now."""
        wanted = self.rows() + more
        await until(lambda: self.rows() >= wanted, what="it hears of trades again")

    def rows(self) -> int:
        return sum(pair.rows for pair in archive_status.read(self.data))

    def holds(self, pair: str, trade_id: int) -> bool:
        ledger, layout = Ledger(), Layout(self.data)
        load_ledger.load(ledger, layout, records.claims(live_read.entries(layout.journal)))
        return trade_id in ledger.of(pair).spans

    def is_the_truth(self) -> None:
        truth = read_truth(self.folder / "truth")
        verdict = compare(archived(self.data), truth, first_ids=self.first_ids, pairs=self.sandbox.last_ids())
        assert verdict.perfect, str(verdict)

    def keeps_its_promises(self) -> None:
        """Nothing is lost from the promise of each pair on, and that is what is certified."""
        layout, truth = Layout(self.data), read_truth(self.folder / "truth")
        told = stored_evidence.read(layout)
        assert set(told.promised) >= self.sandbox.last_ids().keys()
        first_ids = {}
        for pair in self.sandbox.last_ids():
            promise = told.promise(pair)
            assert promise is not None
            assert promise.after_id is not None
            older = [one for one, made in truth[pair].items() if made.time_ns // 1000 < promise.time_us]
            assert promise.after_id == max(older, default=0)
            first_ids[pair] = promise.after_id + 1
        verdict = compare(archived(self.data), truth, first_ids=first_ids, pairs=first_ids)
        assert verdict.perfect, str(verdict)
        for one in certify(layout, sorted(told.promised), told, now_us=self.clock.wall_ns() // 1000):
            assert not one.unanchored
            assert not any(day.missing or day.lacks() for day in one.certificates)

    def has_manners(self, *, per_s: float = PER_S) -> None:
        keeps_the_pace([request for request in self.sandbox.requests if request.path.startswith("/0/")], per_s)
        is_calm_when_refused(self.sandbox.requests)
        dials = [request.at_s for request in self.sandbox.requests.to("/v2")]
        later = zip(dials, dials[100:], strict=False)
        assert all(after - before >= 600 for before, after in later), "too many connection attempts"


def keeps_the_pace(requests: Iterable[LoggedRequest], per_s: float) -> None:
    """Fail if requests come faster than ``per_s``; two may have been late, which does not put off the next."""
    free_s = float("-inf")
    for request in requests:
        assert request.at_s >= free_s - 2 / per_s, f"{request} comes {free_s - request.at_s:.2f} s too early"
        free_s = max(free_s, request.at_s) + 1 / per_s


def is_calm_when_refused(requests: Iterable[LoggedRequest]) -> None:
    """Fail if a request follows a refusal before the pause that Kraken wants is over; the edge's is one of a path."""
    refused_s: dict[str, float] = {}
    for request in requests:
        if request.path.startswith("/0/"):
            last_s = max(refused_s.get(scope, float("-inf")) for scope in ("/0/", request.path))
            assert request.at_s >= last_s + CALM_S - LATE_S, f"{request} comes while throttled"
            if request.fault in {"throttle", *FORMS}:
                refused_s["/0/" if request.status == 200 else request.path] = request.at_s


@contextlib.asynccontextmanager
async def bench_of(folder: Path, *, first_id: int = 1, inclusive_since: bool = True) -> AsyncIterator[Bench]:
    clock = FastClock()
    market = Market(start_ns=clock.wall_ns(), rate=40, history=200, first_id=first_id)
    sandbox = Sandbox(market, clock=clock, truth=folder / "truth", trades_per_frame=5, inclusive_since=inclusive_since)
    running = asyncio.create_task(clock.run())
    try:
        async with sandbox.serve():
            yield Bench(folder, clock, sandbox)
    finally:
        running.cancel()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_of(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(("lasts_s", "turn_s"), [(2.0, TURN_S), (600.0, 0.5)])
async def test_an_outage_leaves_nothing_out(bench: Bench, lasts_s: float, turn_s: float) -> None:
    async with bench.recording():
        bench.sandbox.faults.outage(lasts_s)
        await bench.clock.passed(lasts_s, turn_s=turn_s)
        await bench.hears()
    bench.is_the_truth()
    bench.has_manners()


async def test_a_shut_door_keeps_holes_open_and_the_socket_in_use(bench: Bench) -> None:
    async with bench.recording():
        bench.sandbox.faults.throw("refuse", 30.0)
        bench.sandbox.faults.throw("drop", n=3)
        await bench.clock.passed(30.0)
    bench.is_the_truth()
    bench.has_manners()
    assert len(bench.sandbox.requests.to("/v2")) == 1


async def test_a_minute_of_accepting_and_closing_is_met_with_patience(bench: Bench) -> None:
    async with bench.recording():
        bench.sandbox.faults.throw("brush_off", 60.0)
        bench.sandbox.faults.disconnect()
        await bench.clock.passed(60.0)
        dials = len(bench.sandbox.requests.to("/v2"))
        await bench.hears()
    assert 3 <= dials <= 20
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize("stall", [Stall(ping_frames=False, ping_messages=False), Stall()], ids=["mute", "pings"])
async def test_a_dead_line_is_replaced_within_ten_seconds_also_if_it_answers_pings(bench: Bench, stall: Stall) -> None:
    async with bench.recording():
        bench.sandbox.faults.throw("stall", stall=stall)
        died_s = bench.clock.monotonic()
        await until(lambda: len(bench.sandbox.requests.to("/v2")) == 2, what="it dials again")
        assert bench.sandbox.requests.to("/v2")[1].at_s - died_s <= 10 + LATE_S
    bench.is_the_truth()
    bench.has_manners()


async def test_of_several_connections_one_is_down_while_the_others_record_and_new_pairs_join(bench: Bench) -> None:
    everything = bench.config(pairs=("*",))
    async with bench.recording(everything, app.Intervals(listing_s=5.0, listing_soon_s=1.0, pairs_a_line=2)):
        await until(lambda: sorted(map(len, bench.streamed())) == [2, 2, 2], what="each has its pairs")
        bench.sandbox.faults.refuse()
        bench.sandbox.sever(BTC)
        await until(lambda: len(bench.streamed()) == 2, what="one is down")
        others = {pair for pairs in bench.streamed() for pair in pairs}
        bench.sandbox.freeze()
        bench.sandbox.burst(BTC, 300)
        for pair in others:
            bench.sandbox.burst(pair, 300)
        made = {pair: last for pair, last in bench.sandbox.last_ids().items() if pair in others}
        await until(lambda: caught_up(bench.data, made), what="the others record")
        assert len(bench.streamed()) == 2
        bench.sandbox.faults.release()
        bench.sandbox.thaw()
        bench.sandbox.enlist(pair_of("NEW/USD", pair_decimals=4, lot_decimals=8))
        await until(
            lambda: sorted(map(len, bench.streamed())) == [1, 2, 2, 2], what="the new pair is on one of its own"
        )
        bench.sandbox.deaden("NEW/USD")
        dials = len(bench.sandbox.requests.to("/v2"))
        await until(lambda: len(bench.sandbox.requests.to("/v2")) > dials, what="the dead one is replaced")
        await until(lambda: "NEW/USD" in bench.held(), what="the new pair is recorded")
        bench.sandbox.freeze()
        await until(bench.whole, what="all is held")
        bench.sandbox.delist("NEW/USD")
        await until(lambda: sorted(map(len, bench.streamed())) == [2, 2, 2], what="and the connection closed")
    bench.is_the_truth()
    bench.has_manners()


async def test_a_silent_market_with_heartbeats_is_told_from_a_quiet_one_within_two_looks(bench: Bench) -> None:
    async with bench.recording():
        await bench.clock.passed(75.0)  # a first look, so that there is something to compare with
        bench.sandbox.faults.throw("hush")
        silent_s = bench.clock.monotonic()
        asked = len(bench.trades)
        await until(lambda: len(bench.trades) > asked, what="it asks for what it does not hear")
        assert bench.trades[asked].at_s - silent_s <= 130
        bench.sandbox.freeze()
        await until(bench.whole, what="all is held though nothing is heard")
        bench.sandbox.faults.release()
        bench.sandbox.thaw()
        await bench.hears()
    assert len(bench.sandbox.requests.to("/v2")) == 1
    bench.is_the_truth()
    bench.has_manners()


async def test_a_pair_that_is_acknowledged_and_silent_is_recorded_nevertheless(bench: Bench) -> None:
    bench.sandbox.faults.lines.muted.add(BTC)
    stop = app.Stop()
    recording = asyncio.create_task(app.record(bench.config(), stop, clock=bench.clock, random=Random(1)))
    try:
        await until(lambda: BTC in bench.held(), what="the silent pair is recorded")
        await bench.clock.passed(70.0)
        bench.sandbox.freeze()
        await until(bench.whole, what="all is held though the pair is silent")
    finally:
        stop.signal()
        await recording
    assert {row.source for row in archived(bench.data) if row.pair == BTC} == {"rest"}
    bench.is_the_truth()
    bench.has_manners()


async def test_a_pair_that_is_silent_from_its_subscription_on_is_subscribed_anew_at_the_second_look(
    bench: Bench,
) -> None:
    bench.sandbox.faults.lines.muted.add(BTC)
    stop = app.Stop()
    recording = asyncio.create_task(app.record(bench.config(), stop, clock=bench.clock, random=Random(1)))
    try:
        await bench.clock.passed(140.0)
        bench.sandbox.freeze()
        await until(bench.whole, what="all is held though the pair is silent")
    finally:
        stop.signal()
        await recording
    with connect(bench.data) as archive:
        told = archive.sql("SELECT pair FROM events WHERE kind = 'subscribed'", to="arrow").column("pair").to_pylist()
    assert Counter(told) == Counter([*bench.sandbox.last_ids(), BTC])
    assert len(bench.sandbox.requests.to("/v2")) == 1
    bench.is_the_truth()
    bench.has_manners()


async def test_many_frames_lost_in_a_busy_minute_cost_few_requests(bench: Bench) -> None:
    async with bench.recording():
        await until(
            lambda: not archive_status.everything(bench.data).unanchored, what="it is known where the promises begin"
        )
        await bench.clock.passed(5.0)
        asked = len(bench.trades)
        for _ in range(80):
            bench.sandbox.faults.throw("drop", n=1)
            bench.sandbox.burst(BTC, 50)
        await bench.clock.passed(30.0)
        await bench.hears()
    assert len(bench.trades) - asked <= 20, "80 gaps within 4,000 trades"
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "polled"])
async def test_what_came_between_the_promise_and_the_first_answer_is_not_lost(bench: Bench, *, stream: bool) -> None:
    for pair in (BTC, "MOG/USD"):
        bench.sandbox.burst(pair, 1_300)  # far more than a snapshot or the newest page holds
    async with bench.begun(bench.config(trades=TradesConfig(stream=stream))):
        await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
    bench.keeps_its_promises()
    bench.has_manners()


async def test_a_line_that_is_lost_right_after_the_first_subscription_loses_nothing(bench: Bench) -> None:
    bench.sandbox.faults.throw("hush")  # not even the snapshots arrive
    async with bench.begun():
        await until(lambda: bench.streamed() == [set(bench.sandbox.last_ids())], what="it has subscribed")
        bench.sandbox.faults.outage(30.0)
        for pair in bench.sandbox.last_ids():
            bench.sandbox.burst(pair, 300)
        bench.sandbox.faults.lines.release()
        await bench.clock.passed(30.0)
        await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
    bench.keeps_its_promises()
    bench.has_manners()


async def test_a_pair_that_is_silent_from_the_first_subscription_on_loses_nothing(bench: Bench) -> None:
    bench.sandbox.faults.lines.muted.add(BTC)
    async with bench.begun():
        await until(lambda: bench.streamed() == [set(bench.sandbox.last_ids())], what="it has subscribed")
        bench.sandbox.burst(BTC, 1_300)
        await until(lambda: BTC in bench.held(), what="the silent pair is recorded")
        await bench.clock.passed(70.0)
    bench.keeps_its_promises()
    bench.has_manners()


@pytest.mark.parametrize("silent", [False, True], ids=["lost", "silent"])
async def test_a_new_listing_is_held_from_its_first_trade_on(bench: Bench, *, silent: bool) -> None:
    new = "NEW/USD"
    if silent:
        bench.sandbox.faults.lines.muted.add(new)
    async with bench.begun(bench.config(pairs=("*",)), app.Intervals(listing_s=5.0, listing_soon_s=1.0)):
        await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
        bench.sandbox.enlist(pair_of(new, pair_decimals=4, lot_decimals=8), trades_per_s=float(silent))
        await until(lambda: any(new in pairs for pairs in bench.streamed()), what="the new pair is subscribed")
        if not silent:  # it has never traded when its line is lost
            await bench.clock.passed(20.0)
            bench.sandbox.faults.outage(10.0)
        bench.sandbox.burst(new, 300)
        await bench.clock.passed(140.0)
        await until(lambda: new in bench.held(), what="the new pair is recorded")
    bench.keeps_its_promises()
    bench.has_manners()
    promise = stored_evidence.read(Layout(bench.data)).promise(new)
    assert promise is not None
    assert promise.after_id == 0


async def test_a_pair_that_never_trades_is_promised_anchored_and_certified(bench: Bench) -> None:
    bench.sandbox.enlist(pair_of("NEW/USD", pair_decimals=4, lot_decimals=8), trades_per_s=0.0)
    async with bench.begun(bench.config(pairs=("*", "NEW/USD"))):
        await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
        await until(
            lambda: not archive_status.everything(bench.data).unanchored, what="it is known that it never traded"
        )
    bench.keeps_its_promises()
    told = stored_evidence.read(Layout(bench.data))
    (found,) = certify(Layout(bench.data), ["NEW/USD"], told, now_us=bench.clock.wall_ns() // 1000)
    assert [(day.status, day.held) for day in found.certificates] == [("pending", None)]


async def test_an_archive_that_was_begun_without_promises_is_taken_over_at_its_lowest_trade(bench: Bench) -> None:
    async with bench.recording():
        pass
    for path in (bench.data / "events").rglob("*.parquet"):
        if path.name != "schema.parquet":
            path.unlink()
    for pair in Layout(bench.data).pairs():
        for path in Layout(bench.data).trade_files(pair):
            forget_promise(path)
    lowest = {pair.pair: (pair.first_us, pair.first_id - 1) for pair in archive_status.read(bench.data)}
    bench.sandbox.thaw()
    async with bench.recording():
        bench.sandbox.burst(BTC, 300)
    told = stored_evidence.read(Layout(bench.data))
    assert {pair: told.promise(pair) for pair in lowest} == {
        pair: Promise(first_us, after_id, assumed=True) for pair, (first_us, after_id) in lowest.items()
    }
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize("damage", [["drop"], ["duplicate"], ["reorder"], ["torn"], ["duplicate", "reorder", "torn"]])
async def test_damaged_frames_are_made_good(bench: Bench, damage: list[str]) -> None:
    async with bench.recording():
        for fault in damage:
            bench.sandbox.faults.throw(fault, n=7)
        for _ in range(6):
            bench.sandbox.burst(BTC, 30)
        await bench.clock.passed(5.0)
        await bench.hears()
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize(
    ("field", "text"),
    [("misc", "null"), ("trade_id", ""), ("row", "null")],
)
async def test_an_odd_row_costs_itself_until_it_can_be_read(bench: Bench, field: str, text: str) -> None:
    async with bench.recording():
        await until(
            lambda: not archive_status.everything(bench.data).unanchored, what="it is known where the promises begin"
        )
        odd = bench.sandbox.last_ids()[BTC] + 40
        bench.sandbox.faults.rows.trade(BTC, odd, field, text)
        bench.sandbox.faults.throw("drop", n=30)
        bench.sandbox.burst(BTC, 100)
        bench.sandbox.faults.lines.release()
        bench.sandbox.burst(BTC, 10)
        await bench.clock.passed(200.0, turn_s=0.5)
    told, kept = stored_evidence.read(Layout(bench.data)), list(quarantine.listed(Layout(bench.data)))
    assert told.unreadable == {BTC: Spans([Span(odd, odd)])}
    assert told.void == {}
    assert {(one.reason, one.pair, one.spans) for one in kept} == {("odd", BTC, (Span(odd, odd),))}
    with connect(bench.data) as archive:
        events = archive.sql("SELECT kind, detail FROM events WHERE kind IN ('malformed', 'unreadable')", to="arrow")
        gaps = archive.sql("SELECT first_id, last_id, state FROM gaps", to="arrow").to_pylist()
    assert sorted(events.column("kind").to_pylist()) == ["malformed", "unreadable"]
    assert all(f"{odd}" in detail for detail in events.column("detail").to_pylist())
    assert gaps == [{"first_id": odd, "last_id": odd, "state": "unreadable"}]
    bench.sandbox.faults.release()
    bench.sandbox.thaw()
    async with bench.recording():  # by a release, or of an exchange, that knows better
        await until(lambda: not archive_status.everything(bench.data).unanchored, what="it records")
        await until(lambda: bench.holds(BTC, odd), what="the row is read")
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize("form", FORMS)
async def test_a_throttle_that_calling_keeps_on_is_waited_out(bench: Bench, form: str) -> None:
    async with bench.recording():
        bench.sandbox.throttle(Throttle(bench.clock, size=2, per_s=0.5, sticky=True, form=form))
        for pair in bench.sandbox.last_ids():
            bench.sandbox.faults.throw("drop", n=1)
            bench.sandbox.burst(pair, 20)
        await bench.hears(more=60)
        await until(lambda: any(request.fault == "throttle" for request in bench.sandbox.requests), what="a refusal")
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize(
    "mishap", [name for name in rest_faults.NAMES if name not in FORMS and name not in {"http_403", "http_429"}]
)
async def test_answers_that_go_wrong_close_no_hole_falsely(tmp_path: Path, mishap: str) -> None:
    async with bench_of(tmp_path, inclusive_since=mishap < "i") as bench:
        async with bench.recording():
            bench.sandbox.faults.throw("drop", n=800)
            bench.sandbox.faults.throw(mishap, 12.0)
            bench.sandbox.burst(BTC, 2_500)  # 500 frames, of three pages
            bench.sandbox.burst("MOG/USD", 1_400)
            bench.sandbox.faults.lines.release()
            bench.sandbox.burst(BTC, 10)
            bench.sandbox.burst("MOG/USD", 10)
            struck = len(bench.trades)
            await until(lambda: len(bench.trades) > struck, what="an answer goes wrong")
        assert any(request.fault == mishap for request in bench.trades)
        bench.is_the_truth()
        bench.has_manners()


async def test_a_refusal_of_the_edge_is_left_alone_for_minutes(bench: Bench) -> None:
    async with bench.recording():
        bench.sandbox.faults.throw("http_403", n=1, path="/0/public/Trades")
        bench.sandbox.faults.throw("drop", n=3)
        bench.sandbox.burst(BTC, 30)
        await until(lambda: any(request.status == 403 for request in bench.sandbox.requests), what="a 403")
    refused = next(request for request in bench.sandbox.requests if request.status == 403)
    after = [request for request in bench.sandbox.requests if request.at_s > refused.at_s]
    assert next(one for one in after if one.path == refused.path).at_s - refused.at_s >= 120 - LATE_S
    bench.is_the_truth()


@pytest.mark.parametrize("as_date", [True, False], ids=["date", "seconds"])
async def test_a_handshake_that_is_refused_stops_connections_and_rest_for_as_long_as_it_says(
    bench: Bench, *, as_date: bool
) -> None:
    async with bench.recording():
        beside = Beside(90.0, as_date=as_date)
        bench.sandbox.faults.rest.throw("http_429" if as_date else "http_403", n=1, path=HANDSHAKE, beside=beside)
        bench.sandbox.faults.disconnect()
        await until(lambda: len(bench.sandbox.requests.to("/v2")) == 2, what="a refusal")
        refused_s = bench.sandbox.requests.to("/v2")[1].at_s
        await bench.clock.passed(90.0)
        await bench.hears()
    later = [one for one in bench.sandbox.requests if one.at_s > refused_s + LATE_S]
    assert later[0].at_s - refused_s >= 89 - LATE_S  # a date says whole seconds
    assert len(bench.sandbox.requests.to("/v2")) == 3
    bench.is_the_truth()
    bench.has_manners()


async def test_a_path_that_is_refused_is_left_alone_for_as_long_as_it_says_while_others_are_asked(bench: Bench) -> None:
    async with bench.recording():
        beside = Beside(100.0)
        bench.sandbox.faults.rest.throw("http_429", n=1, path="/0/public/Trades", beside=beside)
        bench.sandbox.faults.throw("drop", n=3)
        bench.sandbox.burst(BTC, 30)
        await until(lambda: any(request.status == 429 for request in bench.trades), what="a refusal")
        await bench.clock.passed(100.0)
        await bench.hears()
    (refused,) = [request for request in bench.trades if request.status == 429]
    meanwhile = [one for one in bench.sandbox.requests if LATE_S < one.at_s - refused.at_s < 100.0 - LATE_S]
    assert meanwhile
    assert all(one.path != refused.path for one in meanwhile)
    bench.is_the_truth()
    bench.has_manners()


def by_name(entry: SubscriptionFaults) -> None:
    entry.refuse(for_s=20.0)


def whole(entry: SubscriptionFaults) -> None:
    entry.refuse(TOO_FAST, 20.0, named=False)


def too_large(entry: SubscriptionFaults) -> None:
    entry.limit_to(symbols=2)


def no_answer(entry: SubscriptionFaults) -> None:
    entry.refuse("", 30.0, symbols=[BTC])


@pytest.mark.parametrize("refuse", [by_name, whole, too_large, no_answer])
async def test_a_subscription_that_is_refused_for_now_is_polled_and_streamed_later_on_the_same_connection(
    bench: Bench, refuse: Callable[[SubscriptionFaults], None]
) -> None:
    entry = bench.sandbox.faults.entry
    refuse(entry)
    async with bench.recording():
        await until(lambda: bench.streamed() == [set(bench.sandbox.last_ids())], what="every pair is streamed")
        await bench.hears()
    moments = [at_s for at_s, _ in entry.asked]
    assert len(moments) <= 12
    assert all(after - before >= 1 - TURN_S for before, after in pairwise(moments)), "a burst"
    assert len(bench.sandbox.requests.to("/v2")) == 1
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize("inclusive", [True, False])
async def test_ids_that_never_existed_become_void_and_nothing_else_does(tmp_path: Path, *, inclusive: bool) -> None:
    async with bench_of(tmp_path, first_id=3, inclusive_since=inclusive) as bench:
        config = bench.config(trades=TradesConfig.model_validate({"backfill_from": "listing"}))
        bench.sandbox.skip_ids(BTC, 4)
        bench.sandbox.burst(BTC, 700)
        stop = app.Stop()
        recording = asyncio.create_task(app.record(config, stop, clock=bench.clock, random=Random(1)))
        try:
            await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
            bench.sandbox.burst(BTC, 5)
            bench.sandbox.skip_ids(BTC, 2)
            bench.sandbox.burst(BTC, 5)
            bench.sandbox.faults.throw("drop", n=1)
            bench.sandbox.burst(BTC, 10)
            bench.sandbox.freeze()
            never = {pair: Spans([Span(1, 2)]) for pair in bench.sandbox.last_ids()}
            last = bench.sandbox.last_ids()[BTC]
            never[BTC].update([Span(203, 206), Span(last - 16, last - 15)])
            bench.clock.turn_s = 0.3
            await until(lambda: void(bench.data) == never, what="what never existed is known to be void")
        finally:
            stop.signal()
            await recording
        assert void(bench.data) == never
        bench.first_ids = dict.fromkeys(never, 1)
        bench.is_the_truth()
        bench.has_manners()


LONE = 2**40
IN_2102_S = 4_176_528_432
IN_YEAR_1_S = -62_135_596_800


async def test_a_lone_odd_id_costs_nothing_but_its_frame(bench: Bench) -> None:
    async with bench.recording():
        await until(
            lambda: not archive_status.everything(bench.data).unanchored, what="it is known where each pair begins"
        )
        bench.sandbox.stray(BTC, LONE)
        bench.sandbox.faults.throw("drop", n=3)
        for _ in range(3):
            bench.sandbox.burst(BTC, 30)
        await bench.hears()
        asked = len(bench.trades)
        await bench.clock.passed(60.0)
        of_pair = [one for one in bench.trades[asked:] if "pair=XBTUSD" in one.query]  # others are looked after as ever
        assert len(of_pair) <= 6, "few requests go to what nothing is known of"
    bench.is_the_truth()
    bench.has_manners()
    assert [(kept.pair, kept.spans) for kept in quarantine.listed(Layout(bench.data))] == [(BTC, (Span(LONE, LONE),))]


@dataclass(frozen=True)
class Jump:
    """How ids jump: so many frames after it are lost, and so many trades before and behind it have an odd time."""

    lost: int = 0
    stream: bool = True
    time_s: int = 0
    before: int = 0
    behind: int = 0


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(Jump(), id="heard"),
        pytest.param(Jump(lost=1), id="lost"),
        pytest.param(Jump(time_s=IN_2102_S, before=2, behind=2), id="2102 on both sides"),
        pytest.param(Jump(lost=6, time_s=0, before=2), id="1970 before, lost"),
        pytest.param(Jump(time_s=IN_YEAR_1_S, before=1, behind=2, stream=False), id="year 1 on both sides, polled"),
    ],
)
async def test_ids_that_really_jump_by_ten_million_are_followed_and_those_between_become_void(
    bench: Bench, jump: Jump
) -> None:
    stop, config = app.Stop(), bench.config(trades=TradesConfig(stream=jump.stream))
    recording = asyncio.create_task(app.record(config, stop, clock=bench.clock, random=Random(1)))
    try:
        await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
        await until(
            lambda: not archive_status.everything(bench.data).unanchored, what="it is known where each pair begins"
        )
        bench.sandbox.freeze()
        if jump.before:
            bench.sandbox.stamp(BTC, jump.before, jump.time_s)
            bench.sandbox.burst(BTC, jump.before)
        last = bench.sandbox.last_ids()[BTC]
        bench.sandbox.skip_ids(BTC, 10_000_000)
        if jump.lost:
            bench.sandbox.faults.throw("drop", n=jump.lost)
        if jump.behind:
            bench.sandbox.stamp(BTC, jump.behind, jump.time_s)
        bench.sandbox.burst(BTC, 30)
        bench.sandbox.thaw()
        asked = len(bench.trades)
        await bench.clock.passed(10.0)
        bench.sandbox.freeze()
        bench.clock.turn_s = 1.0
        await until(bench.whole, what="all is held, and what was left out is known to be void")
        if jump.stream:  # else each pair is asked for over and over, as the pace allows
            assert len(bench.trades) - asked <= 30
    finally:
        stop.signal()
        await recording
    assert void(bench.data) == {BTC: Spans([Span(last + 1, last + 10_000_000)])}
    bench.is_the_truth()
    bench.has_manners()


@pytest.mark.parametrize("time_s", [IN_2102_S, 0, IN_YEAR_1_S], ids=["2102", "1970", "1"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "polled"])
async def test_odd_times_are_stored_as_they_came_and_lead_no_request_astray(
    bench: Bench, *, stream: bool, time_s: int
) -> None:
    async with bench.recording(bench.config(trades=TradesConfig(stream=stream))):
        await until(
            lambda: not archive_status.everything(bench.data).unanchored, what="it is known where each pair begins"
        )
        bench.sandbox.freeze()
        for damaged in (False, True, False):  # streamed, or fetched straight into the archive; and the newest of all
            bench.sandbox.burst(BTC, 30)
            if damaged:
                bench.sandbox.faults.throw("drop", n=1)
            bench.sandbox.stamp(BTC, 3, time_s)
            bench.sandbox.burst(BTC, 3)
        await until(bench.whole, what="all is held")
        asked = len(bench.trades)
        await bench.clock.passed(60.0)
        assert len(bench.trades) - asked <= (60 if not stream else 2 * len(bench.sandbox.last_ids()))
    bench.is_the_truth()
    bench.has_manners()
    (told,) = {event.pair for event in archive_status.everything(bench.data).events if event.kind == "malformed"}
    assert told == BTC


@dataclass(frozen=True)
class Elsewhen:
    """The clock of a host that is so far ahead of the exchange's; it goes as fast."""

    true: FastClock
    ahead_ns: int

    def monotonic(self) -> float:
        return self.true.monotonic()

    def wall_ns(self) -> int:
        return self.true.wall_ns() + self.ahead_ns

    async def sleep(self, delay_s: float) -> None:
        await self.true.sleep(delay_s)


@pytest.mark.parametrize("host_s", [7, IN_2102_S], ids=["1970", "2102"])
async def test_a_host_whose_clock_is_decades_off_parks_nothing_and_fetches_what_it_lacks(
    bench: Bench, host_s: int
) -> None:
    clock, stop = Elsewhen(bench.clock, host_s * 1_000_000_000 - START_NS), app.Stop()
    recording = asyncio.create_task(app.record(bench.config(), stop, clock=clock, random=Random(1)))
    try:
        await until(lambda: bench.held() == set(bench.sandbox.last_ids()), what="it records every pair")
        bench.sandbox.faults.outage(5.0)
        bench.sandbox.burst(BTC, 1_200)
        await bench.clock.passed(5.0)
        bench.sandbox.faults.throw("drop", n=3)
        bench.sandbox.burst(BTC, 30)
        await bench.hears()
        bench.sandbox.freeze()
        await until(bench.whole, what="all is held")
    finally:
        stop.signal()
        await recording
    bench.is_the_truth()
    bench.has_manners()
    assert not list(quarantine.listed(Layout(bench.data)))


async def test_after_90_days_down_the_stream_is_believed_though_rest_refuses_for_long(bench: Bench) -> None:
    async with bench.recording():
        pass
    down_s = 90 * 86_400
    last = bench.sandbox.last_ids()[BTC]
    bench.clock.forward(down_s)
    bench.sandbox.skip_ids(BTC, 50 * down_s)
    stop = app.Stop()
    recording = asyncio.create_task(app.record(bench.config(), stop, clock=bench.clock, random=Random(1)))
    try:
        await until(lambda: bench.streamed() == [set(bench.sandbox.last_ids())], what="it has subscribed")
        bench.sandbox.faults.throw("unavailable", 600.0, path="/0/public/Trades")
        bench.sandbox.burst(BTC, 7)
        newest = bench.sandbox.last_ids()[BTC]
        await bench.clock.passed(600.0, turn_s=0.5)
        assert next(one for one in archive_status.read(bench.data) if one.pair == BTC).last_id == newest, (
            "and it counts"
        )
        bench.clock.turn_s = 0.3
        await until(bench.whole, what="what was never made is known to be void")
    finally:
        stop.signal()
        await recording
    assert void(bench.data) == {BTC: Spans([Span(last + 1, last + 50 * down_s)])}
    bench.is_the_truth()
    assert not list(quarantine.listed(Layout(bench.data)))


def void(data: Path) -> dict[str, Spans]:
    """Return the ids that events say are void, archived or journalled."""
    layout = Layout(data)
    ledger = Ledger()
    load_ledger.load(ledger, layout, records.claims(live_read.entries(layout.journal)))
    return {pair: ledger.of(pair).void for pair in ledger if ledger.of(pair).void}


async def test_a_burst_of_50000_trades_in_a_second_is_recorded(tmp_path: Path) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve(), recording(config_for(sandbox, data)):
        await until(lambda: (data / "trades").is_dir() and len(archive_status.read(data)) == 6, what="recording")
        before = sandbox.last_ids()[BTC]
        for _ in range(10):
            sandbox.burst(BTC, 5_000)
            await asyncio.sleep(0)
        sandbox.freeze()
        await until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
    rows = archived(data)
    verdict = compare(rows, read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)
    live = {row.source for row in rows if row.pair == BTC and row.trade_id > before}
    assert live == {"ws"}, "the stream alone kept up"


DIES = """
import importlib, os, signal, sys
upkeep = importlib.import_module("recorder.daemon.maintenance")
upkeep.ROUND_S = 0.2
importlib.import_module("recorder.repair.fetch_trades").BATCH_ROWS = 2_000
importlib.import_module("recorder.repair.backfill").TIDY_BATCHES = 3
module, owner, name, times = sys.argv.pop(1).split(":")
owner = getattr(importlib.import_module(module), owner)
right, left = getattr(owner, name), [int(times)]
def dying(*arguments, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return right(*arguments, **options)
setattr(owner, name, dying)
from recorder.cli import main
main()
"""
"""A recorder that kills itself (kill -9) as it calls a function for the so-and-so-many-th time."""


async def dies(tmp_path: Path, where: str, *arguments: str, **environ: str) -> None:
    """Run the recorder until it dies where it is told to."""
    log = tmp_path / f"died-{where.rpartition('.')[2]}.txt"
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DIES, where, *arguments,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ}, stdout=file, stderr=file,
        )  # fmt: skip
        try:
            code = await asyncio.wait_for(process.wait(), PATIENCE_S)
        finally:
            if process.returncode is None:
                process.kill()
    assert code == -signal.SIGKILL, log.read_text()


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("recorder.archive.trades:TradeArchive:append:1", id="repair, nothing archived"),
        pytest.param("recorder.archive.coverage:Coverage:add_file:2", id="repair, archived and not counted"),
        pytest.param("recorder.journal.journal:Journal:retire:2", id="drain, archived and not retired"),
        pytest.param("recorder.ingest.drain_trades:TradeDrain:append:2", id="drain, begun"),
        pytest.param("recorder.disk:Disk:exchange:1", id="compaction, built and not swapped"),
        pytest.param("recorder.disk:Disk:remove_tree:2", id="compaction, swapped and not swept"),
    ],
)
async def test_a_recorder_that_is_killed_at_work_begins_again_where_it_was(tmp_path: Path, where: str) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=300), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        environ = environ_for(sandbox, drain_every="100ms")
        sandbox.faults.throw("drop", 0.0)
        dying = asyncio.create_task(dies(tmp_path, where, "run", "--data", str(data), **environ))
        while not dying.done():
            sandbox.faults.throw("drop", n=1)
            sandbox.burst(BTC, 150)
            await asyncio.sleep(0.1)
        await dying
        await ends_well(tmp_path, sandbox, environ)
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


async def ends_well(tmp_path: Path, sandbox: Sandbox, environ: dict[str, str]) -> None:
    """Record until all is held, and stop."""
    data = tmp_path / "data"
    process = Process("run", "--data", str(data), cwd=tmp_path, **environ)
    try:
        await process.says("recording")
        sandbox.freeze()
        await until(lambda: caught_up(data, sandbox.last_ids()), what=f"all is held\n{process.said}")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    finally:
        process.close()


def history(asked: Sequence[LoggedRequest], start_ns: int) -> list[int]:
    """Return where those pages of BTC began that a backfill alone requests, before the last minute of the past."""
    until_ns = start_ns - 60 * 10**9
    begun = (
        int(value) for one in asked for key, value in parse_qsl(one.query) if key == "since" and "XBTUSD" in one.query
    )
    return [since_ns for since_ns in begun if 0 < since_ns < until_ns]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("recorder.archive.trades:TradeArchive:append:3", id="not archived"),
        pytest.param("recorder.archive.coverage:Coverage:add_file:3", id="archived"),
        pytest.param("recorder.disk:Disk:exchange:1", id="compacting"),
    ],
)
async def test_a_backfill_that_is_killed_goes_on_from_there_beside_a_recorder(tmp_path: Path, where: str) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    start_ns = clock.wall_ns()
    market = Market(start_ns=start_ns, rate=100, history={BTC: 20_000, "DOGE/USD": 500})
    sandbox = Sandbox(market, clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        environ = environ_for(sandbox)
        beside = Process("run", "--data", str(data), cwd=tmp_path, **environ)
        fetch = ["backfill", BTC, "--from", "listing", "--data", str(data)]
        try:
            await beside.says("recording")
            await dies(tmp_path, where, *fetch, **environ)
            pages = len(sandbox.requests.to("/0/public/Trades"))
            again = Process(*fetch, cwd=tmp_path, **environ)
            try:
                assert await again.ended() == 0, again.said
            finally:
                again.close()
            asked = sandbox.requests.to("/0/public/Trades")
            first, second = (history(part, start_ns) for part in (asked[:pages], asked[pages:]))
            assert min(second) > min(first), "it goes on from where it was"
            assert len(second) < 20, "and reads less than all of it again"
            sandbox.freeze()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="all is held")
            beside.signal(signal.SIGTERM)
            assert await beside.ended() == 0
        finally:
            beside.close()
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), first_ids={BTC: 1})
    assert verdict.perfect, str(verdict)


STRANGE = [
    '{"channel":"notice","type":"update","data":[{"text":"halted"}]}',
    '{"Error":"Exceeded msg rate"}',
    '{"event":"error","errorMessage":"x"}',
    '{"channel":"trades","type":"update","data":[]}',
    '["anything"]',
    "upstream timed out",
]
FOREIGN = (
    '{"channel":"trade","type":"update","data":[{"symbol":"NO/NE","side":"buy","price":1.0,"qty":1.0,'
    '"ord_type":"limit","trade_id":99,"timestamp":"2026-01-01T00:00:00.000000Z"}]}'
)


async def test_what_is_new_or_null_in_answers_and_frames_costs_nothing_and_is_told_within_bounds(bench: Bench) -> None:
    sandbox = bench.sandbox
    sandbox.faults.quirks.beside("count", "5")
    sandbox.faults.quirks.beside("warnings", "[]")
    sandbox.status.nulls = True
    async with bench.recording():
        sandbox.status.show("maintenance")
        for text in (*STRANGE, FOREIGN):
            sandbox.say(text)
        for _ in range(3 * MOST):
            sandbox.say('{"channel":"flood"}')
        await bench.clock.passed(2.0)
        sandbox.faults.outage(20.0)
        await bench.clock.passed(20.0)
        sandbox.status.show("online")
        await bench.hears()
    bench.is_the_truth()
    events = rows(bench.data, "SELECT kind, detail FROM events WHERE kind IN ('malformed', 'maintenance')")
    reasons = [json.loads(detail)["reason"] for kind, detail in events if kind == "malformed"]
    assert sum("channel flood" in reason for reason in reasons) == MOST
    assert len(reasons) == MOST + len(STRANGE) + 1
    assert sum("rows of NO/NE, which was not requested" in reason for reason in reasons) == 1
    told = {
        (json.loads(detail)["source"], json.loads(detail)["system"]) for kind, detail in events if kind != "malformed"
    }
    assert {("ws", "maintenance"), ("ws", "online")} <= told
    assert "NO/NE" not in bench.held()


async def test_a_pair_that_no_listing_has_stays_while_it_trades_and_leaves_when_it_is_silent(bench: Bench) -> None:
    quiet = pair_of("QUIET/USD", pair_decimals=4, lot_decimals=8)
    bench.sandbox.enlist(quiet, trades_per_s=0.0)
    bench.sandbox.burst("QUIET/USD", 1)
    rhythm = app.Intervals(listing_s=20.0, listing_soon_s=20.0)
    every = set(bench.sandbox.last_ids())
    async with bench.recording(bench.config(pairs=("*",)), rhythm):
        for pair in (BTC, "QUIET/USD"):
            bench.sandbox.faults.quirks.lack(pair)
        await until(lambda: bench.streamed() == [every - {"QUIET/USD"}], what="the silent one leaves")
        await bench.clock.passed(60.0)
        assert bench.streamed() == [every - {"QUIET/USD"}]
        bench.sandbox.faults.quirks.release()
        await until(lambda: bench.streamed() == [every], what="it comes back when it is listed")
    assert rows(bench.data, "SELECT pair FROM events WHERE kind = 'delisted'") == [("QUIET/USD",)]
