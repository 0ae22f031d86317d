"""A bad file of one pair under a running recorder: the other pairs lose nothing, and the pair heals by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import recorder
from recorder import app
from recorder.archive import quarantine, read_trades
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.core.model import Trade
from recorder.disk import undisturbed
from recorder.errors import CorruptFile
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import archived, caught_up, config_for, first_held, recording, streamed, until

BTC, ETH = "BTC/USD", "ETH/EUR"
HISTORY = 300
OFTEN = app.Intervals(maintenance_s=0.2)


def last(data: Path, pair: str) -> int:
    return max((row.trade_id for row in rows(data, pair)), default=0)


def rows(data: Path, pair: str) -> list[Trade]:
    return undisturbed(lambda: list(read_trades.trades(Layout(data), pair)), f"the files of {pair}")


def waiting(data: Path) -> int:
    """Return how many lines of the pair were ever set aside."""
    return quarantine.waiting(Layout(data), [BTC]).get(BTC, (0, 0))[0]


async def test_a_bad_file_costs_its_pair_alone_at_a_start_and_while_recording(tmp_path: Path) -> None:
    data, clock = tmp_path / "data", SystemClock()
    market = Market(start_ns=clock.wall_ns(), rate=0, history={BTC: HISTORY, ETH: HISTORY})
    async with Sandbox(market, clock=clock, truth=tmp_path / "truth", trades_per_frame=5).serve() as sandbox:
        config = config_for(sandbox, data, BTC, ETH, drain_every_s=1.0)

        async def trade() -> None:
            await until(lambda: streamed(sandbox) == {BTC, ETH}, what="both pairs are streamed")
            for pair in (BTC, ETH):
                sandbox.burst(pair, 20)
            await until(lambda: last(data, ETH) == sandbox.last_ids()[ETH], what="ETH is archived")

        async with recording(config, OFTEN):
            await trade()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="all is held")
        folder = min(Layout(data).trade_files(BTC)).parent
        stray = folder / "junk.parquet"
        stray.write_bytes(b"PAR1")
        async with recording(config, OFTEN):  # the start goes on over it
            await trade()
            await until(lambda: waiting(data) > 0, what="frames of BTC wait")
            first = min(row.trade_id for row in rows(data, ETH))
            with recorder.connect(data) as archive:
                assert len(archive.trades(ETH, on_gap="ignore")) == last(data, ETH) - first + 1
                with pytest.raises(CorruptFile, match=stray.name):
                    archive.trades(BTC, on_gap="ignore")
                with pytest.raises(CorruptFile, match=stray.name):
                    archive.sql("SELECT count(*) FROM trades")
            stray.unlink()
            await until(
                lambda: caught_up(data, sandbox.last_ids()) and last(data, BTC) == sandbox.last_ids()[BTC],
                what="it heals",
            )
            stray.write_bytes(b"")  # while it records
            await trade()
            before = waiting(data)
            while waiting(data) == before:
                await trade()
            stray.unlink()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="it heals once more")
        # What waited is archived as it came, and not asked for once more.
        assert all(row.received_us is not None for row in rows(data, BTC) if row.trade_id > HISTORY)
        truth = read_truth(tmp_path / "truth")
        firsts = {pair: first_held(data, pair) for pair in (BTC, ETH)}
        verdict = compare(archived(data), truth, first_ids=firsts, pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)
