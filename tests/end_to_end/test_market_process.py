"""Quotes recorded beside trades, by a process that is killed and stopped: what arrived is stored once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from recorder.archive import read_trades, verify_tables
from recorder.archive.coverage import Coverage
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.config import QuotesConfig
from recorder.daemon import market_process
from recorder.disk import undisturbed
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import config_for, recording, until

BTC, DOGE = "BTC/USD", "DOGE/USD"
VALUES = ("bid", "bid_qty", "ask", "ask_qty", "last")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Return the processes that are begun, in order; none waits long to be begun again."""
    processes: list[Process] = []
    begin = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Process:
        processes.append(await begin(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(market_process, "FIRST_S", 0.01)
    return processes


async def test_what_arrived_is_stored_once_and_trades_are_untouched_whatever_happens_to_the_process(
    tmp_path: Path, begun: list[Process]
) -> None:
    clock, data = SystemClock(), tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=100, history=20), clock=clock)
    async with sandbox.serve():
        sandbox.clients.sent.record("ticker")
        sent = sandbox.clients.sent.by_connection
        config = config_for(sandbox, data, BTC, drain_every_s=0.5)
        config = config.model_copy(update={"quotes": QuotesConfig(pairs=("*/USD",))})
        async with recording(config):
            await until(lambda: archived(data, "quotes") > 0, what="quotes in the archive")
            os.kill(begun[0].pid, signal.SIGKILL)
            await until(lambda: len(sent) > 1, what="another process, and its connection")
            os.kill(begun[1].pid, signal.SIGSTOP)
            last = sandbox.last_ids()[BTC]
            await until(lambda: held(data) > last, what="trades that are archived while it is stopped")
            os.kill(begun[1].pid, signal.SIGCONT)
            before = archived(data, "quotes")
            await until(lambda: archived(data, "quotes") > before, what="more quotes")
    assert [process.returncode for process in begun] == [-signal.SIGKILL, 0]
    check_quotes(rows(data, "quotes"), sent)
    assert list(verify_tables.findings(Layout(data))) == []
    assert ids(data) == list(range(1, held(data) + 1))
    told = [(row["kind"], json.loads(row["detail"])) for row in rows(data, "events")]
    (ended,) = (detail for kind, detail in told if kind == "process_ended")
    assert (ended["process"], ended["signal"]) == ("market", "SIGKILL")
    assert [kind for kind, detail in told if kind == "connected" and "channel" not in detail] == ["connected"]
    assert {detail["channel"] for kind, detail in told if kind == "subscribed" and "channel" in detail} == {"ticker"}


def check_quotes(stored: Sequence[dict[str, Any]], sent: Mapping[int, list[str]]) -> None:
    """Assert that each session is the beginning of what was sent of its pair on a connection of its own."""
    sessions: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in sorted(stored, key=lambda row: (row["session"], row["message"])):
        sessions.setdefault((row["pair"].replace("%2F", "/"), row["session"]), []).append(row)
    lines = {
        (connection, pair): list(of_pair(frames, pair)) for connection, frames in sent.items() for pair in (BTC, DOGE)
    }
    used = []
    for (pair, _), of_session in sessions.items():
        if pair in {BTC, DOGE}:
            assert [row["message"] for row in of_session] == list(range(len(of_session)))
            came = [tuple(row[name] for name in VALUES) for row in of_session]
            used += [key for key, line in lines.items() if key[1] == pair and line[: len(came)] == came]
    assert len(used) == len(set(used)) == 4, "two pairs, on the connections of two processes"


def of_pair(frames: Sequence[str], pair: str) -> Iterator[tuple[Decimal, ...]]:
    for frame in frames:
        for row in json.loads(frame, parse_float=Decimal)["data"]:
            if row["symbol"] == pair:
                yield tuple(row[name] for name in VALUES)


def rows(data: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pads.dataset(data / table, partitioning="hive").to_table().to_pylist()
    return found


def archived(data: Path, table: str) -> int:
    """Return the number of files with rows."""
    return sum(path.name != "schema.parquet" for path in (data / table).rglob("*.parquet"))


def ids(data: Path) -> list[int]:
    return [trade.trade_id for trade in read_trades.trades(Layout(data), BTC)]


def held(data: Path) -> int:
    """Return the highest archived id."""
    return undisturbed(lambda: Coverage(Layout(data)).spans(BTC), "files").last or 0
