"""What a whole day's recording can prove, from the first request to the certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from recorder.archive import stored_evidence
from recorder.archive.layout import Layout
from recorder.core.certificate import Certificate
from recorder.ops.certificates import certify
from recorder.sandbox.ground_truth import compare, read_truth
from tests.end_to_end.clock_jumps import START_NS, LeapingClock, exchange, recorded, settings
from tests.end_to_end.harness import archived, caught_up, kinds, until

TODAY = datetime(2026, 7, 7, tzinfo=UTC).date()
"""The day on which the clock of these tests begins, shortly before its end."""
LATE_NS = START_NS + 40 * 60 * 10**9


def certified(data: Path, clock: LeapingClock) -> dict[str, dict[str, Certificate]]:
    """Return the certificates by pair and day."""
    layout = Layout(data)
    return {
        one.pair: {certificate.day.isoformat(): certificate for certificate in one.certificates}
        for one in certify(layout, layout.pairs(), stored_evidence.read(layout), now_us=clock.wall_ns() // 1000)
    }


async def test_a_confirmation_proves_the_last_day_of_a_silent_pair(tmp_path: Path) -> None:
    clock = LeapingClock(LATE_NS)
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=0, history=2500)
    async with sandbox.serve():
        config = settings(sandbox, data, "BTC/USD", "ETH/EUR", timeframes=())
        config = config.model_copy(update={"trades": config.trades.model_copy(update={"backfill_from": 0})})
        async with recorded(config, clock):
            last_ids = {pair: sandbox.last_ids()[pair] for pair in ("BTC/USD", "ETH/EUR")}
            await until(lambda: caught_up(data, last_ids), what="the snapshot is recorded")
            await clock.live_until(
                lambda: {row.pair for row in archived(data) if row.trade_id == 1} == last_ids.keys(),
                what="history is fetched",
            )
            before = certified(data, clock)["BTC/USD"]
            await clock.live(30 * 60)  # past midnight
            sandbox.burst("ETH/EUR", 1)
            await until(lambda: caught_up(data, {"ETH/EUR": last_ids["ETH/EUR"] + 1}), what="a trade after midnight")
    assert kinds(data)["confirmed"] >= 1
    after = certified(data, clock)
    assert before[TODAY.isoformat()].status == "pending"
    for pair in ("BTC/USD", "ETH/EUR"):
        days = after[pair]
        assert {days[day].status for day in days if day < TODAY.isoformat()} <= {"complete", "empty"}
        assert days[TODAY.isoformat()].status == "partial"  # the promise begins on it
        assert days[max(days)].status == "pending"
    rows = list(archived(data))
    assert len(rows) == 2 * 2500 + 1
    truth = read_truth(tmp_path / "truth")
    assert compare(rows, {pair: truth[pair] for pair in last_ids}).perfect
