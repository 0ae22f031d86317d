"""Quotes recorded beside trades, by a process that is killed and stopped: what arrived is stored once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from recorder import app
from recorder.archive import read_trades, verify_tables
from recorder.archive.coverage import Coverage
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.config import QuotesConfig
from recorder.core.disk_limits import disk_limits
from recorder.daemon import disk_space, market_process
from recorder.daemon.disk_space import DiskSpaceWatch
from recorder.disk import Room, undisturbed
from recorder.errors import DiskError
from recorder.runtime.stop import Stop
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
    assert [kind for kind, _ in told].count("connected") == 1
    own = [(row["kind"], json.loads(row["detail"])) for row in rows(data, "market_events")]
    assert {detail["channel"] for kind, detail in own if kind == "subscribed"} == {"ticker"}


async def test_on_a_low_disk_it_ends_before_anything_of_trades_and_begins_again_once_there_is_room(
    tmp_path: Path, begun: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the wiring of the recorder itself; in the place of the process is a program that ends when asked."""
    clock, data, total = SystemClock(), tmp_path / "data", 100_000_000
    limits, free = disk_limits(total), [total]
    command = (sys.executable, "-S", "-E", "-c", "import sys; sys.stdin.read()")
    monkeypatch.setattr(app, "MarketProcess", partial(market_process.MarketProcess, command=command))
    monkeypatch.setattr(app, "DiskSpaceWatch", partial(DiskSpaceWatch, room=lambda _: Room(free[0], total)))
    monkeypatch.setattr(disk_space, "LOOK_S", 0.02)
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=100, history=20), clock=clock)
    async with sandbox.serve():
        config = config_for(sandbox, data, BTC, drain_every_s=0.2)
        config = config.model_copy(update={"quotes": QuotesConfig(pairs=("*/USD",))})
        recording = asyncio.create_task(app.record(config, Stop()))
        await until(lambda: held(data) > 0 if (data / "trades").exists() else False, what="trades")
        await until(lambda: len(begun) == 1, what="the process")
        free[0] = limits.low - 1
        await until(lambda: begun[0].returncode is not None, what="its end")
        last = held(data)
        await until(lambda: held(data) > last, what="trades that are archived meanwhile")
        assert len(begun) == 1
        free[0] = limits.relief
        await until(lambda: len(begun) == 2, what="the process again")
        free[0] = limits.stop - 1
        with pytest.raises(DiskError, match="recording ends at"):
            await recording
    assert [process.returncode for process in begun] == [-signal.SIGTERM, -signal.SIGTERM]
    assert [row["kind"] for row in rows(data, "events")].count("disk_low") == 2
    assert ids(data) == list(range(1, held(data) + 1))


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
