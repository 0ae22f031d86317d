"""From a promise on, the first trade included, nothing is left out."""

from __future__ import annotations

import pytest

from recorder import app
from recorder.archive import stored_evidence
from recorder.archive.layout import Layout
from recorder.config import TradesConfig
from recorder.core.evidence import Promise
from recorder.ops import archive_status
from recorder.ops.certificates import certify
from recorder.sandbox.pairs import pair_of
from tests.archives import forget_promise
from tests.end_to_end.fault_bench import BTC, Bench
from tests.end_to_end.harness import until


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


async def test_an_archive_without_promises_is_promised_from_its_lowest_trade(bench: Bench) -> None:
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
