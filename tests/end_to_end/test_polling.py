from __future__ import annotations

from pathlib import Path

from recorder.clock import SystemClock
from recorder.config import TradesConfig
from recorder.ops import status
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from recorder.sandbox.truth import compare, read_truth
from tests.end_to_end.harness import archived, caught_up, config_for, recording, until


async def test_a_refused_pair_is_recorded_by_polling_exactly_beside_those_that_are_streamed(tmp_path: Path) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=200), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        sandbox.faults.reject("BTC/USD")
        async with recording(config_for(sandbox, data)):
            await until(lambda: any(pair.pair == "BTC/USD" for pair in read(data)), what="the refused pair is polled")
            sandbox.burst("BTC/USD", 3500)
            sandbox.freeze()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
    rows = archived(data)
    assert {row.source for row in rows if row.pair == "BTC/USD"} == {"rest"}
    assert {row.source for row in rows if row.pair == "ETH/EUR"} == {"ws"}
    verdict = compare(rows, read_truth(tmp_path / "truth"), pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


async def test_without_the_stream_every_pair_is_recorded_by_polling_and_no_socket_is_opened(tmp_path: Path) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=200), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        config = config_for(sandbox, data).model_copy(update={"trades": TradesConfig(stream=False)})
        async with recording(config):
            await until(lambda: len(read(data)) == 6, what="every pair is polled")
            sandbox.freeze()
            await until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
        assert sandbox.requests.to("/v2") == []
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


def read(data: Path) -> list[status.PairStatus]:
    return status.read(data) if (data / "trades").is_dir() else []
