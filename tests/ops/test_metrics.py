from __future__ import annotations

from recorder.core.ledger import runs
from recorder.errors import RateLimited
from recorder.ops.metrics import Metrics
from tests.tasks.support import PAIR, T0_US, trades


def test_a_commit_counts_trades_and_keeps_the_highest_id_whatever_the_order() -> None:
    metrics = Metrics()
    metrics.committed(runs(trades(5, 9)), frames=1, seconds=0.01)
    claims = runs([*trades(12, 12), *trades(11, 11), *trades(1, 2, pair="ETH/USD")])
    metrics.committed(claims, frames=3, seconds=0.01)
    value = metrics.registry.get_sample_value
    assert value("recorder_trades_total", {"pair": PAIR}) == 7
    assert value("recorder_last_trade_id", {"pair": PAIR}) == 12
    assert value("recorder_last_trade_time_seconds", {"pair": PAIR}) == (T0_US + 12_000) / 1e6
    assert value("recorder_trades_total", {"pair": "ETH/USD"}) == 2
    assert value("recorder_commit_seconds_count") == 2
    assert value("recorder_frames_total") == 4


def test_the_exposition_carries_connections_and_failures_by_kind() -> None:
    metrics = Metrics()
    metrics.connected()
    metrics.rest_failed(RateLimited("EGeneral:Too many requests"))
    text = metrics.text().decode()
    assert "recorder_stream_up 1.0" in text
    assert 'recorder_rest_failures_total{kind="RateLimited"} 1.0' in text
    metrics.disconnected()
    assert metrics.registry.get_sample_value("recorder_stream_up") == 0
