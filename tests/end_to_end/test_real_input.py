from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.replay import replay_files
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import SHARED, archived, caught_up, config_for, recording, until

SESSION = SHARED / "kraken/payloads/ws_v2/mixed/live_book10_trade_BTC-USD_ETH-USD_2026-07-07.jsonl"
PAGE = SHARED / "kraken/payloads/rest/Trades/XBTUSDT_1000_2025-11-11.json"

LISTING = SHARED / "kraken/payloads/rest/AssetPairs/XBTUSDT_2025-11.json"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real payloads in ../shared are not here")


def same_text(value: Decimal, text: str) -> bool:
    """Tell whether ``value``, printed with as many digits as ``text`` has, is that text."""
    digits = len(text.partition(".")[2])
    return f"{value:.{digits}f}" == text and value == Decimal(text)


@needs_shared
async def test_a_recorded_session_with_book_frames_is_archived_exactly(tmp_path: Path) -> None:
    sandbox = Sandbox(replay_files(sessions=[SESSION], speed=0), clock=SystemClock(), truth=tmp_path / "truth")
    async with sandbox.serve(), recording(config_for(sandbox, tmp_path / "data")):
        await until(lambda: sandbox.last_ids().get("BTC/USD") == 103436779, what="the session is played")
        await until(lambda: caught_up(tmp_path / "data", sandbox.last_ids()), what="all of it is recorded")
    rows = {(row.pair, row.trade_id): row for row in archived(tmp_path / "data")}
    wire = [
        trade
        for line in SESSION.read_text().splitlines()
        if '"channel":"trade"' in line and '"data"' in line
        for trade in json.loads(line, parse_float=str)["data"]
    ]
    assert len(wire) == 17
    for trade in wire:
        row = rows[trade["symbol"], trade["trade_id"]]
        assert same_text(row.price, trade["price"])
        assert same_text(row.qty, trade["qty"])
        assert (row.side, row.ord_type, row.source) == (trade["side"], trade["ord_type"], "ws")
        assert f"{row.time_us % 1_000_000:06d}Z" == trade["timestamp"].rpartition(".")[2]
    assert compare(rows.values(), read_truth(tmp_path / "truth")).perfect


@needs_shared
async def test_a_real_page_of_trades_arrives_exactly_by_snapshot_repair_and_stream(tmp_path: Path) -> None:
    market = replay_files(listings=[LISTING], pages=[PAGE], withheld=990)
    sandbox = Sandbox(market, clock=SystemClock(), truth=tmp_path / "truth")
    data = tmp_path / "data"
    async with sandbox.serve():
        async with recording(config_for(sandbox, data)):
            await until(lambda: caught_up(data, sandbox.last_ids()), what="the first ten came as a snapshot")
        sandbox.burst("BTC/USDT", 700)
        async with recording(config_for(sandbox, data)):
            await until(lambda: caught_up(data, sandbox.last_ids()), what="the hole before the snapshot is refilled")
            sandbox.burst("BTC/USDT", 290)
            await until(lambda: caught_up(data, sandbox.last_ids()), what="the rest came live")
    page = json.loads(PAGE.read_text(), parse_float=str)["result"]["XBTUSDT"]
    rows = {row.trade_id: row for row in archived(data)}
    assert len(rows) == len(page) == 1000
    assert {"ws", "rest"} == {row.source for row in rows.values()}
    for price, volume, time, side, ord_type, misc, trade_id in page:
        row = rows[trade_id]
        assert same_text(row.price, price)
        assert same_text(row.qty, volume)
        assert (row.side[0], row.ord_type[0], row.misc) == (side, ord_type, misc)
        assert abs(row.time_us - int(Decimal(time) * 1_000_000)) <= 1  # the print itself may lie a µs off
    assert compare(rows.values(), read_truth(tmp_path / "truth"), first_ids={"BTC/USDT": 10218208}).perfect


def test_same_text_knows_a_lost_zero_from_a_lost_digit() -> None:
    assert same_text(Decimal("63501.6"), "63501.60000")
    assert not same_text(Decimal("63501.61"), "63501.6")
