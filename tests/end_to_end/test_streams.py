"""Streams of trades beside a running recorder, in this process: consumers that are cut and resume."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from recorder.clock import SystemClock
from recorder.page.paths import STREAM
from recorder.reader.__main__ import application
from recorder.reader.workers import Workers
from recorder.repair import gap_repair
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import caught_up, config_for, recording, streamed, until

PAIRS = ("BTC/USD", "ETH/EUR")
FEW = 20
TRADES = "/0/public/Trades"


class Consumer:
    """Takes a stream in pieces, each in a connection of its own that is cut; ``taken`` are the ids by pair."""

    def __init__(self, client: TestClient[Any, Any], form: str, begins: Mapping[str, int]) -> None:
        self._client, self.form = client, form
        self._cursor = ",".join(f"{pair}:{last}" for pair, last in begins.items())
        self.taken: dict[str, list[int]] = {pair: [] for pair in begins}
        self.waited: list[dict[str, list[int]]] = []

    async def take(self, lines: int) -> None:
        """Take so many lines that tell something, and leave without a word."""
        sse = self.form == "sse"
        given = {"pairs": ",".join(PAIRS), "format": self.form, **({} if sse else {"after": self._cursor})}
        headers = {"Last-Event-ID": self._cursor} if sse else {}
        async with self._client.get(STREAM, params=given, headers=headers) as answer:
            assert answer.status == 200
            event_id = ""
            while lines:
                line = (await answer.content.readline()).decode()
                if line.startswith("id: "):
                    event_id = line.removeprefix("id: ").strip()
                content = line.removeprefix("data: ")
                if not content.startswith("{"):
                    continue
                lines -= 1
                said = json.loads(content)
                if "waiting" in said:
                    self.waited.append(said["waiting"])
                else:
                    self.taken[said["pair"]].append(said["trade_id"])
                    self._cursor = event_id if sse else self._following(said["pair"], said["trade_id"])

    def _following(self, pair: str, trade_id: int) -> str:
        after = dict(part.rsplit(":", 1) for part in self._cursor.split(","))
        return ",".join(f"{name}:{last}" for name, last in {**after, pair: str(trade_id)}.items())

    async def take_until_it_waits(self) -> None:
        while not self.waited:
            await self.take(5)

    async def take_until(self, last_ids: Mapping[str, int]) -> None:
        """Take all up to these ids, a hundred lines at a time."""
        while left := sum(last_ids[pair] - (ids[-1] if ids else 0) for pair, ids in self.taken.items()):
            await self.take(min(100, left))


async def test_consumers_cut_and_resumed_while_a_gap_opens_and_closes_take_each_trade_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_repair, "FIRST_RETRY_S", 0.2)  # until the gap is asked for again
    clock, data = SystemClock(), tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=0), clock=clock)
    async with sandbox.serve(), recording(config_for(sandbox, data, *PAIRS)):
        await until(lambda: streamed(sandbox) >= set(PAIRS), what="the pairs are streamed")
        begins = dict(sandbox.last_ids())
        for pair in PAIRS:
            sandbox.burst(pair, FEW)
        await until(lambda: caught_up(data, last_ids(sandbox)), what="the first trades are stored")
        workers = Workers(data, at_once=1)
        async with TestClient(TestServer(application(data, workers))) as client:
            consumers = [Consumer(client, form, {pair: begins[pair] for pair in PAIRS}) for form in ("ndjson", "sse")]
            await asyncio.gather(*(one.take(FEW) for one in consumers))  # half of them, and cut
            sandbox.faults.throw("http_503", path=TRADES)
            sandbox.faults.throw("drop", n=1)
            for pair in ("BTC/USD", *PAIRS):
                sandbox.burst(pair, FEW)
            await asyncio.gather(*(one.take_until_it_waits() for one in consumers))  # and cut again
            for one in consumers:
                first_missing, last_missing = one.waited[-1]["BTC/USD"]
                assert first_missing == one.taken["BTC/USD"][-1] + 1, "nothing from beyond the gap"
                assert last_missing < sandbox.last_ids()["BTC/USD"]
            ndjson, sse = consumers
            await asyncio.gather(sse.take_until(last_ids(sandbox)), closed(sandbox, data))
            await ndjson.take_until(last_ids(sandbox))  # which was away while the gap closed
        workers.close()
    for one in consumers:
        for pair, ids in one.taken.items():
            assert ids == list(range(begins[pair] + 1, sandbox.last_ids()[pair] + 1)), (one.form, pair)


async def closed(sandbox: Sandbox, data: Path) -> None:
    sandbox.faults.release()
    await until(lambda: caught_up(data, last_ids(sandbox)), what="the gap is closed")


def last_ids(sandbox: Sandbox) -> dict[str, int]:
    return {pair: sandbox.last_ids()[pair] for pair in PAIRS}
