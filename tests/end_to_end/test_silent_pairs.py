"""Pairs that are acknowledged and silent, and frames that are lost without a word."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from recorder import app, connect
from recorder.ops import archive_status
from recorder.runtime.stop import Stop
from tests.end_to_end.fault_bench import BTC, Bench
from tests.end_to_end.harness import archived, until


async def test_a_silent_stream_with_heartbeats_is_found_within_two_checks(bench: Bench) -> None:
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
    stop = Stop()
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


async def test_a_pair_silent_since_subscribing_is_resubscribed_at_the_second_check(
    bench: Bench,
) -> None:
    bench.sandbox.faults.lines.muted.add(BTC)
    stop = Stop()
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
