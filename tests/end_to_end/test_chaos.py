"""Harm of every kind to an archive under a running recorder and its readers; at length in benchmarks/chaos.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from recorder import app
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from recorder.sandbox.truth import compare, read_truth
from tests.end_to_end.chaos import TABLES, Chaos, Readers, Truth, complaints, rows
from tests.end_to_end.harness import caught_up, config_for, first_held, recording, streamed, until

PAIRS = ("BTC/USD", "DOGE/USD", "ETH/EUR", "MINA/GBP", "MOG/USD", "SHIB/USD")
ROUNDS = 6


async def test_harm_of_every_kind_costs_its_pair_alone_and_no_answer_is_wrong(tmp_path: Path) -> None:
    data, clock, random = tmp_path / "data", SystemClock(), Random(13)
    market = Market(start_ns=clock.wall_ns(), rate=0, history=40)
    async with Sandbox(market, clock=clock, truth=tmp_path / "truth", trades_per_frame=5).serve() as sandbox:
        chaos = Chaos(data, tmp_path / "aside", PAIRS, random)
        readers = Readers(data, Truth(tmp_path / "truth"), PAIRS, random)
        async with recording(config_for(sandbox, data, *PAIRS, drain_every_s=1.0), app.Rhythm(upkeep_s=0.2)):
            await until(lambda: streamed(sandbox) == {*PAIRS}, what="all pairs are streamed")
            for round_ in range(ROUNDS):
                for pair in PAIRS:
                    sandbox.burst(pair, 20)
                await until(lambda: caught_up(data, sandbox.last_ids()), what="all is held")
                await until(lambda: len(Layout(data).pairs()) == len(PAIRS), what="all is archived")
                victim, other = random.sample(PAIRS, 2)
                found = [
                    chaos.harm_pair(victim, other),
                    chaos.harm_table(random.choice(TABLES)) if round_ % 2 else None,
                ]
                readers.harms += [one for one in found if one is not None]
                for pair in PAIRS:
                    sandbox.burst(pair, 20)
                await asyncio.to_thread(readers.everything)
                while await asyncio.to_thread(chaos.mend):
                    pass
                await until(lambda: not complaints(data) and caught_up(data, sandbox.last_ids()), what="it heals")
                for one in readers.harms:
                    one.healed_s = one.healed_s or clock.monotonic()
        firsts = {pair: first_held(data, pair) for pair in PAIRS}
        verdict = compare(rows(data), read_truth(tmp_path / "truth"), first_ids=firsts)
    assert not readers.wrong, "\n".join(readers.wrong)
    assert verdict.perfect, str(verdict)
