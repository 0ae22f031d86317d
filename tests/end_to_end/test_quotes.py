"""Quotes over two simulated minutes of what can go wrong: each frame received is stored once, and no other."""

from __future__ import annotations

from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.disk import Disk
from tests.end_to_end.fault_bench import BTC, Bench
from tests.end_to_end.simulated_quotes import ODD, Quotes

ETH, DOGE = "ETH/EUR", "DOGE/USD"


async def test_each_frame_that_was_received_is_stored_once_and_sessions_cover_exactly_what_is_stored(
    bench: Bench,
) -> None:
    create(Layout(bench.data), Disk())  # as the recorder does before it begins the process
    quotes, faults, passed = (
        Quotes(bench, (BTC, ETH, DOGE), drain_every="10s"),
        bench.sandbox.faults,
        bench.clock.passed,
    )
    async with quotes.recording(drained=False):
        await passed(8)
        faults.throw("drop", n=3)
        faults.throw("duplicate", n=5)
        await passed(8)
        faults.throw("reorder", n=4)
        faults.throw("torn", n=2)
        await passed(4)
        faults.disconnect()
        await passed(8)
    async with quotes.recording():
        for name, value in ODD:
            faults.rows.quote(BTC, name, value)
            await passed(1)
        faults.throw("stall")
        await passed(30)
        faults.throw("late", 2.0)
        faults.disconnect()
        await passed(10)
        bench.clock.step(-30.0)
        await passed(5)
        faults.outage(3.0)
        await passed(15)
    quotes.check()
    assert len(quotes.received) > 5
    assert quotes.drains > 5
