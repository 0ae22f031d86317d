"""Damaged frames and rows, answers that go wrong, and input that nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder import app, connect
from recorder.archive import quarantine, stored_evidence
from recorder.archive.layout import Layout
from recorder.core.report_limit import MOST
from recorder.core.trade_ids import Span, Spans
from recorder.ops import archive_status
from recorder.sandbox import rest_faults
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.throttle import FORMS
from tests.end_to_end.fault_bench import BTC, Bench, bench_of
from tests.end_to_end.harness import rows, until


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


async def test_new_fields_and_nulls_lose_nothing_and_are_reported_within_bounds(bench: Bench) -> None:
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


async def test_an_unlisted_pair_stays_while_it_trades_and_leaves_when_silent(bench: Bench) -> None:
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
