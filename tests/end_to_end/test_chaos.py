"""Harm of many kinds to an archive under a running recorder and its readers; at length in benchmarks/chaos.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from recorder import app
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end import chaos as harm
from tests.end_to_end.chaos import Chaos, Doing, Readers, Truth, rows
from tests.end_to_end.harness import PATIENCE_S, caught_up, config_for, first_held, recording, streamed, until

PAIRS = ("BTC/USD", "DOGE/USD", "ETH/EUR", "SHIB/USD")
ROUNDS: Sequence[tuple[Sequence[Doing], str, Doing]] = (
    ((harm.truncated, harm.misspelt), "events", harm.newer),
    ((harm.misplaced,), "ohlc", harm.emptied),
    ((harm.newer, harm.a_pipe), "instruments", harm.truncated),
)
"""What is done to files of pairs, at the same time, and of another table."""
ASKED = 8
"""Questions by chance of each round: one takes some 50 ms."""


@pytest.mark.filterwarnings("ignore:certificates are unknown")
async def test_harm_costs_its_pair_alone_heals_as_is_said_and_no_answer_is_wrong(tmp_path: Path) -> None:
    data, clock, random, loop = tmp_path / "data", SystemClock(), Random(13), asyncio.get_running_loop()
    market = Market(start_ns=clock.wall_ns(), rate=0, history=dict.fromkeys(PAIRS, 30))
    chaos = Chaos(data, tmp_path / "aside", PAIRS, random)
    readers = Readers(data, Truth(tmp_path / "truth"), PAIRS, random)

    def ask() -> None:
        for _ in range(ASKED):
            readers.once()

    server = Sandbox(market, clock=clock, truth=tmp_path / "truth", trades_per_frame=5)
    async with server.serve() as sandbox:
        config = config_for(sandbox, data, *PAIRS, drain_every_s=1.0)

        def burst() -> None:
            for pair in PAIRS:
                sandbox.burst(pair, 12)

        def mended() -> bool:
            return not chaos.mend() and caught_up(data, sandbox.last_ids())

        with ThreadPoolExecutor(1) as thread:
            async with recording(config, app.Intervals(maintenance_s=0.2)):
                await until(lambda: streamed(sandbox) == {*PAIRS}, what="all pairs are streamed")
                burst()
                await until(lambda: len(Layout(data).pairs()) == len(PAIRS), what="all is archived")
                await until(lambda: len(list((data / "events").rglob("*.parquet"))) > 1, what="events are")
                for of_pairs, table, of_table in ROUNDS:
                    victims = random.sample(PAIRS, 3)
                    done = [chaos.harm_pair(victims[at], victims[at + 1], one) for at, one in enumerate(of_pairs)]
                    done.append(chaos.harm_table(table, of_table))
                    readers.harms += [one for one in done if one is not None]
                    burst()
                    await loop.run_in_executor(thread, ask)
                    deadline_s = clock.monotonic() + PATIENCE_S
                    while not await loop.run_in_executor(thread, mended):
                        assert clock.monotonic() < deadline_s, "in vain: it heals"
                        await asyncio.sleep(0.2)
                    for one in readers.harms:
                        one.healed_s = one.healed_s or clock.monotonic()
        firsts = {pair: first_held(data, pair) for pair in PAIRS}
        verdict = compare(rows(data), read_truth(tmp_path / "truth"), first_ids=firsts)
    assert not readers.wrong, "\n".join(readers.wrong)
    assert chaos.done.total() == sum(len(of_pairs) + 1 for of_pairs, _, _ in ROUNDS)
    assert verdict.perfect, str(verdict)
