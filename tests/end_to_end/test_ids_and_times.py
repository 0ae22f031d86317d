"""Ids that never existed or jump, and times that cannot be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from recorder import app
from recorder.archive import load_ledger, quarantine
from recorder.archive.layout import Layout
from recorder.config import TradesConfig
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Span, Spans
from recorder.journal import live_read
from recorder.kraken import records
from recorder.ops import archive_status
from recorder.runtime.stop import Stop
from tests.end_to_end.fault_bench import BTC, START_NS, Bench, FastClock, bench_of
from tests.end_to_end.harness import until


@pytest.mark.parametrize("inclusive", [True, False])
async def test_ids_that_never_existed_become_void_and_nothing_else_does(tmp_path: Path, *, inclusive: bool) -> None:
    async with bench_of(tmp_path, first_id=3, inclusive_since=inclusive) as bench:
        config = bench.config(trades=TradesConfig.model_validate({"backfill_from": "listing"}))
        bench.sandbox.skip_ids(BTC, 4)
        bench.sandbox.burst(BTC, 700)
        stop = Stop()
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
async def test_a_real_jump_of_ten_million_ids_is_followed_and_the_rest_void(bench: Bench, jump: Jump) -> None:
    stop, config = Stop(), bench.config(trades=TradesConfig(stream=jump.stream))
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
async def test_a_clock_decades_off_parks_no_ids_and_gaps_are_fetched(bench: Bench, host_s: int) -> None:
    clock, stop = Elsewhen(bench.clock, host_s * 1_000_000_000 - START_NS), Stop()
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
    stop = Stop()
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
