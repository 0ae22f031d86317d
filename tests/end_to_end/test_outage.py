from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from recorder.clock import SystemClock
from recorder.config import TradesConfig
from recorder.ops import archive_status
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import archived, caught_up, config_for, recording, until


@pytest.mark.parametrize("inclusive", [True, False])
async def test_trades_of_an_outage_are_fetched_each_once_and_unaltered(tmp_path: Path, *, inclusive: bool) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    market = Market(start_ns=clock.wall_ns(), rate=500)
    sandbox = Sandbox(market, clock=clock, truth=tmp_path / "truth", inclusive_since=inclusive)
    async with sandbox.serve(), recording(config_for(sandbox, data)):
        await until(lambda: records(data, 6), what="recording")
        await until(lambda: not archive_status.everything(data).unanchored, what="it is known where the promises begin")
        asked = len(sandbox.requests.to("/0/public/Trades"))
        sandbox.faults.outage()
        sandbox.burst("BTC/USD", 2500)
        sandbox.burst("MINA/GBP", 60)
        sandbox.faults.release()
        sandbox.freeze()
        await until(lambda: caught_up(data, sandbox.last_ids()), what="the holes are closed")
    rows = archived(data)
    verdict = compare(rows, read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)
    assert sum(row.source == "rest" for row in rows) >= 2450
    assert len(sandbox.requests.to("/0/public/Trades")) - asked <= 40, "a few pages close the holes"


def records(data: Path, pairs: int) -> bool:
    return (data / "trades").is_dir() and len(archive_status.read(data)) >= pairs


async def test_an_unreachable_exchange_is_named_retried_and_then_recorded(tmp_path: Path) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        sandbox.faults.refuse()
        async with recording(config_for(sandbox, data)):
            await until(lambda: len(list(sandbox.requests)) >= 1, what="it asks")
            sandbox.faults.release()
            sandbox.freeze()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="it recovers by itself")


async def test_what_is_being_fetched_when_it_is_asked_to_stop_is_stored(tmp_path: Path) -> None:
    """A batch takes up to half a minute: a recorder that is restarted more often must get on all the same."""
    clock = SystemClock()
    market = Market(start_ns=clock.wall_ns(), rate=0, history={"BTC/USD": 30_000})
    async with Sandbox(market, clock=clock).serve() as sandbox:
        config = config_for(sandbox, tmp_path / "data", "BTC/USD", pace=10.0)
        wanted = TradesConfig.model_validate({"backfill_from": "listing"})
        async with recording(config.model_copy(update={"trades": wanted})):
            await until(lambda: len(pages_of_history(sandbox)) >= 5, what="history is fetched")
            assert len(archived(tmp_path / "data")) <= 1_000, "but for where it begins, nothing is stored yet"
        # A page is requested from the last stamp of the page before, which had therefore arrived.
        arrived_us = max(pages_of_history(sandbox)) // 1000
    arrived = [row for row in archived(tmp_path / "data") if row.time_us <= arrived_us]
    assert max(row.time_us for row in arrived) == arrived_us
    assert sorted(row.trade_id for row in arrived) == list(range(1, len(arrived) + 1))
    assert len(arrived) > 3_000


def pages_of_history(sandbox: Sandbox) -> list[int]:
    """Where the pages requested so far begin. Requests about the hole's end look back less than two days."""
    begins = [int(dict(parse_qsl(request.query))["since"]) for request in sandbox.requests.to("/0/public/Trades")]
    return [since for since in begins if since < SystemClock().wall_ns() - 2 * 86_400 * 10**9]
