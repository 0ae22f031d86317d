from __future__ import annotations

from pathlib import Path

from recorder.config import TradesConfig
from recorder.ops import archive_status
from recorder.sandbox.ground_truth import compare, read_truth
from tests.end_to_end.clock_jumps import LeapingClock, exchange, recorded, settings
from tests.end_to_end.harness import archived, caught_up


async def test_a_refused_pair_is_recorded_exactly_by_polling_beside_streamed_ones(tmp_path: Path) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=5)
    async with sandbox.serve():
        sandbox.faults.reject("BTC/USD")
        async with recorded(settings(sandbox, data, timeframes=()), clock):
            await clock.live_until(
                lambda: any(pair.pair == "BTC/USD" for pair in read(data)), what="the refused pair is polled"
            )
            sandbox.burst("BTC/USD", 3500)
            sandbox.freeze()
            await clock.live_until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
    rows = archived(data)
    assert {row.source for row in rows if row.pair == "BTC/USD"} == {"rest"}
    assert "ws" in {row.source for row in rows if row.pair == "ETH/EUR"}
    verdict = compare(rows, read_truth(tmp_path / "truth"), pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


async def test_without_the_stream_all_pairs_are_polled_and_no_socket_is_opened(tmp_path: Path) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=5)
    async with sandbox.serve():
        config = settings(sandbox, data, timeframes=()).model_copy(update={"trades": TradesConfig(stream=False)})
        async with recorded(config, clock):
            await clock.live_until(lambda: len(read(data)) == 6, what="every pair is polled")
            sandbox.freeze()
            await clock.live_until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
        assert sandbox.requests.to("/v2") == []
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


def read(data: Path) -> list[archive_status.PairStatus]:
    return archive_status.read(data) if (data / "trades").is_dir() else []
