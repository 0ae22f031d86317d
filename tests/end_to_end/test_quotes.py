"""Quotes over two simulated minutes of what can go wrong: each frame received is stored once, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from recorder.archive import verify_tables
from recorder.archive.layout import Layout
from recorder.kraken import timestamps
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.clocks import ManualClock
from tests.end_to_end.quote_recorder import QuoteRecorder, expected

BTC, ETH, DOGE = "BTC/USD", "ETH/EUR", "DOGE/USD"


@pytest.fixture
async def recorded(tmp_path: Path, clock: ManualClock) -> tuple[QuoteRecorder, dict[str, list[str]]]:
    """Return the recorder after its work, and what was sent by connection."""
    market = Market(start_ns=clock.wall_ns(), rate=20, history=20)
    async with Sandbox(market, clock=clock).serve() as sandbox:
        sandbox.clients.sent.record("ticker")
        recorder = QuoteRecorder(tmp_path / "data", sandbox, clock, (BTC, ETH, DOGE))
        await recorder.passes(8)
        sandbox.faults.throw("drop", n=3)
        sandbox.faults.throw("duplicate", n=5)
        await recorder.passes(4)
        recorder.drain()
        sandbox.faults.throw("reorder", n=4)
        sandbox.faults.throw("torn", n=2)
        await recorder.passes(4)
        sandbox.faults.disconnect()
        await recorder.passes(4)
        for field, value in (("bid", "-1.0"), ("symbol", "null"), ("ask", "null"), ("timestamp", "")):
            sandbox.faults.rows.quote(BTC, field, value)
            await recorder.passes(1)
        sandbox.faults.throw("stall")
        await recorder.passes(14)
        recorder.drain()
        sandbox.faults.throw("late", 2.0)
        sandbox.faults.disconnect()
        await recorder.passes(4)
        await recorder.resubscribe(ETH)
        await recorder.passes(3)
        clock.step(-30.0)
        await recorder.passes(2)
        await recorder.killed()
        await recorder.passes(5)
        recorder.drain()
        sandbox.faults.outage(3.0)
        await recorder.passes(8)
        await recorder.stop()
        sent = {str(name): texts for name, texts in sandbox.clients.sent.by_connection.items()}
        return recorder, sent


def table(data: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pads.dataset(data / name, partitioning="hive").to_table().to_pylist()
    return rows


def micros(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


async def test_each_frame_that_was_received_is_stored_once_and_sessions_cover_exactly_what_is_stored(
    recorded: tuple[QuoteRecorder, dict[str, list[str]]],
) -> None:
    recorder, sent = recorded
    assert len(recorder.received) > 5
    for connection in recorder.received:  # in order and without holes: whatever is missing was never sent
        came = [frame.decode() for _, frame in connection.ticker]
        assert sent.get(str(connection.connection_id), [])[: len(came)] == came
    stored: dict[str, list[dict[str, Any]]] = {}
    rows = table(recorder.data, "quotes")
    for row in sorted(rows, key=lambda row: (row["pair"], row["session"], row["message"])):
        row["pair"] = row["pair"].replace("%2F", "/")
        stored.setdefault(row["pair"], []).append(row)
    wanted = expected(recorder.received)
    assert {BTC, ETH, DOGE} == stored.keys() == wanted.keys()
    for pair, of_pair in stored.items():
        told = sorted(of_pair, key=lambda row: (micros(row["received"]), row["session"], row["message"]))
        assert len(told) == len(wanted[pair])
        for row, want in zip(told, sorted(wanted[pair], key=lambda row: row["received"]), strict=True):
            time_us = None if want["timestamp"] is None else timestamps.micros(want["timestamp"])
            assert (micros(row["time"]), micros(row["received"])) == (time_us, want["received"])
            for name in ("bid", "bid_qty", "ask", "ask_qty", "last"):
                assert row[name] == want[name]
    check_sessions(recorder, rows)
    assert list(verify_tables.findings(Layout(recorder.data))) == []


def check_sessions(recorder: QuoteRecorder, rows: list[dict[str, Any]]) -> None:
    """Assert that sessions tell of exactly these rows, and of the frames that could not be read."""
    of_session: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        of_session.setdefault((row["pair"], row["session"]), []).append(row["message"])
    parts: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for part in table(recorder.data, "quote_sessions"):
        parts.setdefault((part["pair"], part["session"]), []).append(part)
    assert parts.keys() == of_session.keys()
    unread = 0
    for key, messages in of_session.items():
        found = parts[key]
        assert len(messages) == len(set(messages)) == sum(part["rows"] for part in found)
        assert min(messages) == min(part["first_message"] for part in found if part["rows"]) == 0
        last = max(part["last_message"] for part in found)
        assert max(messages) <= last
        unread += last + 1 - len(messages)
    odd = sum(_is_odd(frame) for connection in recorder.received for _, frame in connection.ticker)
    assert 0 < unread <= odd
    open_ends = [key for key, found in parts.items() if all(part["ended"] is None for part in found)]
    assert len(open_ends) == 3, "only those that the kill cut off"


def _is_odd(frame: bytes) -> bool:
    try:
        (row,) = json.loads(frame)["data"]
    except ValueError:
        return True
    return row.get("symbol") is None or (row.get("bid") or 0) < 0
