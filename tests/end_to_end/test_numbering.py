"""A pair that the exchange counts from 1 again, while it is recorded, over a restart, and until its owner decides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from typer.testing import CliRunner

from recorder import app
from recorder.cli import app as command_line
from recorder.clock import SystemClock
from recorder.ops import archive_status
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import archived, caught_up, config_for, recording, until

PAIR = "BTC/USD"


def renumbered(data: Path) -> bool:
    return (data / "trades").is_dir() and PAIR in archive_status.everything(data).renumbered


async def test_no_trade_is_lost_of_a_pair_that_is_counted_from_1_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    market = Market(start_ns=SystemClock().wall_ns(), rate=100.0, history={PAIR: 200})
    async with Sandbox(market, clock=SystemClock()).serve() as sandbox:
        config = config_for(sandbox, data, PAIR, drain_every_s=0.3)
        rhythm = app.Intervals(maintenance_s=0.2)
        async with recording(config, rhythm):
            await until((data / "trades" / "pair=BTC%2FUSD").is_dir, what="the pair's folder")
            sandbox.burst(PAIR, 50)
            await until(lambda: len(archived(data)) >= 50, what="its trades")
            sandbox.renumber(PAIR)
            sandbox.burst(PAIR, 40)
            await until(lambda: renumbered(data), what="that it is numbered anew")
        verified = json.loads(CliRunner().invoke(command_line, ["verify", "--data", str(data), "--json"]).stdout)
        assert verified["renumbered"] == [PAIR]
        assert verified["certificates"][-1]["status"] == "unknown"
        old = archived(data)
        async with recording(config, rhythm):
            sandbox.burst(PAIR, 40)
            shutil.move(data / "trades" / "pair=BTC%2FUSD", tmp_path / "old")
            await until(lambda: not renumbered(data), what="its end")
            sandbox.freeze()
            await until(lambda: caught_up(data, {PAIR: sandbox.last_ids()[PAIR]}), what="all of it")
        tape = sandbox.market.tapes[PAIR]
        held = {row.trade_id: row for row in archived(data)}
        assert sorted(held) == list(range(1, tape.last_id + 1))
        assert [held[one].time_us for one in sorted(held)] == [time_ns // 1000 for time_ns in tape.times_ns]
        assert old
        assert not {(row.trade_id, row.time_us) for row in old} & {(row.trade_id, row.time_us) for row in held.values()}
