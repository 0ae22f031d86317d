"""Recorders and backfills that are killed at work. Kills at random stand in test_crash."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.server import Sandbox
from tests.end_to_end.fault_bench import BTC
from tests.end_to_end.harness import PATIENCE_S, REPOSITORY, Process, archived, caught_up, environ_for, streamed, until

DIES = """
import importlib, os, signal, sys
upkeep = importlib.import_module("recorder.daemon.maintenance")
upkeep.ROUND_S = 0.2
importlib.import_module("recorder.repair.fetch_trades").BATCH_ROWS = 2_000
importlib.import_module("recorder.repair.backfill").TIDY_BATCHES = 3
module, owner, name, times = sys.argv.pop(1).split(":")
owner = getattr(importlib.import_module(module), owner)
right, left = getattr(owner, name), [int(times)]
def dying(*arguments, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return right(*arguments, **options)
setattr(owner, name, dying)
from recorder.cli import main
main()
"""
"""A recorder that kills itself (kill -9) as it calls a function for the so-and-so-many-th time."""


async def dies(tmp_path: Path, where: str, *arguments: str, **environ: str) -> None:
    """Run the recorder until it dies where it is told to."""
    log = tmp_path / f"died-{where.rpartition('.')[2]}.txt"
    with log.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DIES, where, *arguments,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ}, stdout=file, stderr=file,
        )  # fmt: skip
        try:
            code = await asyncio.wait_for(process.wait(), PATIENCE_S)
        finally:
            if process.returncode is None:
                process.kill()
    assert code == -signal.SIGKILL, log.read_text()


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("recorder.archive.trades:TradeArchive:append:1", id="repair, nothing archived"),
        pytest.param("recorder.archive.coverage:Coverage:add_file:2", id="repair, archived and not counted"),
        pytest.param("recorder.journal.journal:Journal:retire:2", id="drain, archived and not retired"),
        pytest.param("recorder.ingest.drain_trades:TradeDrain:append:2", id="drain, begun"),
        pytest.param("recorder.disk:Disk:exchange:1", id="compaction, built and not swapped"),
        pytest.param("recorder.disk:Disk:remove_tree:2", id="compaction, swapped and not swept"),
    ],
)
async def test_a_recorder_that_is_killed_at_work_begins_again_where_it_was(tmp_path: Path, where: str) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=300), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        environ = environ_for(sandbox, drain_every="100ms")
        sandbox.faults.throw("drop", 0.0)
        dying = asyncio.create_task(dies(tmp_path, where, "run", "--data", str(data), **environ))
        while not dying.done():
            if streamed(sandbox):  # a start that takes long leaves no more to fetch than a short one
                sandbox.faults.throw("drop", n=1)
                sandbox.burst(BTC, 150)
            await asyncio.sleep(0.1)
        await dying
        await ends_well(tmp_path, sandbox, environ)
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


async def ends_well(tmp_path: Path, sandbox: Sandbox, environ: dict[str, str]) -> None:
    """Record until all is held, and stop."""
    data = tmp_path / "data"
    process = Process("run", "--data", str(data), cwd=tmp_path, **environ)
    try:
        await process.says("recording")
        sandbox.freeze()
        await until(lambda: caught_up(data, sandbox.last_ids()), what=f"all is held\n{process.said}")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    finally:
        process.close()


def history(asked: Sequence[LoggedRequest], start_ns: int) -> list[int]:
    """Return where those pages of BTC began that a backfill alone requests, before the last minute of the past."""
    until_ns = start_ns - 60 * 10**9
    begun = (
        int(value) for one in asked for key, value in parse_qsl(one.query) if key == "since" and "XBTUSD" in one.query
    )
    return [since_ns for since_ns in begun if 0 < since_ns < until_ns]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("recorder.archive.trades:TradeArchive:append:3", id="not archived"),
        pytest.param("recorder.archive.coverage:Coverage:add_file:3", id="archived"),
        pytest.param("recorder.disk:Disk:exchange:1", id="compacting"),
    ],
)
async def test_a_backfill_that_is_killed_goes_on_from_there_beside_a_recorder(tmp_path: Path, where: str) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    start_ns = clock.wall_ns()
    market = Market(start_ns=start_ns, rate=100, history={BTC: 20_000, "DOGE/USD": 500})
    sandbox = Sandbox(market, clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        environ = environ_for(sandbox)
        beside = Process("run", "--data", str(data), cwd=tmp_path, **environ)
        fetch = ["backfill", BTC, "--from", "listing", "--data", str(data)]
        try:
            await beside.says("recording")
            await dies(tmp_path, where, *fetch, **environ)
            pages = len(sandbox.requests.to("/0/public/Trades"))
            again = Process(*fetch, cwd=tmp_path, **environ)
            try:
                assert await again.ended() == 0, again.said
            finally:
                again.close()
            asked = sandbox.requests.to("/0/public/Trades")
            first, second = (history(part, start_ns) for part in (asked[:pages], asked[pages:]))
            # Their number says nothing: the recorder beside it fetches the same gap once it sees rows below.
            assert min(second) > min(first), "it goes on from where it was, and reads nothing before it again"
            sandbox.freeze()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="all is held")
            beside.signal(signal.SIGTERM)
            assert await beside.ended() == 0
        finally:
            beside.close()
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), first_ids={BTC: 1})
    assert verdict.perfect, str(verdict)
