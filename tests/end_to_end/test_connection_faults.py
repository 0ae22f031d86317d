"""Outages, dead lines, refused connections and bursts. Outages under load stand in test_outage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recorder import app
from recorder.clock import SystemClock
from recorder.ops import archive_status
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.server import Sandbox
from recorder.sandbox.websocket_faults import Stall
from tests.end_to_end.fault_bench import BTC, LATE_S, TURN_S, Bench
from tests.end_to_end.harness import archived, caught_up, config_for, recording, until


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


async def test_one_of_several_connections_is_down_while_the_others_record(bench: Bench) -> None:
    everything = bench.config(pairs=("*",))
    async with bench.recording(everything, app.Intervals(listing_s=5.0, listing_soon_s=1.0, pairs_per_connection=2)):
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
