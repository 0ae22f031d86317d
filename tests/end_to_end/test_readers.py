from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import recorder
from recorder import app
from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import CHARACTERS, Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import archived, caught_up, config_for, recording, until

COUNTS = "SELECT count(*) AS rows, count(DISTINCT trade_id) AS ids FROM trades WHERE pair = 'BTC/USD'"
LIVE_COUNTS = """
    SELECT count(*) AS rows, count(DISTINCT trade_id) AS ids, max(trade_id) - min(trade_id) + 1 AS span
    FROM trades WHERE pair = 'BTC/USD'
"""
ROUNDS = 12
"""Drains that the readers must live through, each with a compaction behind it."""
EVERY_S = 0.1
"""Between two drains, and between two looks for files to merge, at least: the readers have a question in each."""
COMMIT_S = 0.05
"""The journal is synced more often than this, however slow the readers are."""


class Reader(threading.Thread):
    """Loops over one query on a connection of its own, and notes what no reader may ever see."""

    def __init__(self, data: Path, query: str, *, live: bool) -> None:
        super().__init__()
        self._data, self._query, self._live = data, query, live
        self.stop = threading.Event()
        self.queries = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 -- a thread's error must reach the test
            self.wrong.append(repr(error))

    def _loop(self) -> None:
        before = 0
        with recorder.connect(self._data, live=self._live) as archive:
            while not self.stop.is_set():
                (row,) = archive.sql(self._query, to="arrow").to_pylist()
                self.queries += 1
                if row["rows"] != row["ids"]:
                    self.wrong.append(f"{row['rows']} rows of {row['ids']} ids")
                if row["rows"] < before:
                    self.wrong.append(f"{row['rows']} rows after {before}")
                if self._live and row["rows"] != (row["span"] or 0):
                    self.wrong.append(f"{row['rows']} rows where the ids span {row['span']}")
                before = row["rows"]


class Paced(SystemClock):
    """The host's clock, by which nothing begins anew before each reader has got through a question.

    Or a slow machine drains and merges faster than it can read, which a reader gives up upon at last.
    """

    def __init__(self) -> None:
        self.readers: list[Reader] = []

    async def sleep(self, delay_s: float) -> None:
        before = [(reader, reader.queries) for reader in self.readers]
        await super().sleep(delay_s)
        while delay_s > COMMIT_S and any(one.is_alive() and one.queries == count for one, count in before):
            await asyncio.sleep(0.005)


def drains(data: Path) -> int:
    return len(list((data / "raw").glob("*.zst")))


def of_btc(data: Path) -> int:
    return len(list((data / "trades" / "pair=BTC%2FUSD").glob("year=*/*.parquet")))


def merged(data: Path) -> bool:
    """Tell whether files of drains have been merged: each drain brings one of this pair, which trades all the time."""
    return of_btc(data) < drains(data) // 2


async def test_readers_never_see_a_wrong_count_during_drains_and_compactions(tmp_path: Path) -> None:
    clock = Paced()
    data = tmp_path / "data"
    market = Market(start_ns=clock.wall_ns(), rate=600, characters=CHARACTERS[:1])
    sandbox = Sandbox(market, clock=clock, truth=tmp_path / "truth")
    rhythm = app.Intervals(maintenance_s=EVERY_S)
    async with sandbox.serve(), recording(config_for(sandbox, data, drain_every_s=EVERY_S), rhythm, clock):
        await until(lambda: of_btc(data) > 0, what="the first drain")
        readers = [Reader(data, COUNTS, live=False), Reader(data, LIVE_COUNTS, live=True)]
        for reader in readers:
            reader.start()
        clock.readers = readers
        try:
            until_drain = drains(data) + ROUNDS
            await until(
                lambda: (
                    any(reader.wrong for reader in readers)
                    or (drains(data) >= until_drain and all(reader.queries >= 5 for reader in readers) and merged(data))
                ),
                what="many drains, compactions and queries",
            )
        finally:
            for reader in readers:
                reader.stop.set()
            for reader in readers:
                reader.join()
        assert [reader.wrong for reader in readers] == [[], []]
        sandbox.freeze()
        await until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
    assert compare(archived(data), read_truth(tmp_path / "truth")).perfect
