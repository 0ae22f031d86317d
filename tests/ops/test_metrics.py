from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder.core.evidence import Void
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Span
from recorder.errors import RateLimited
from recorder.ops.metrics import PAIRS_LIMIT, Metrics
from tests.builders import PAIR, T0_US, trades

UNITS = ("_seconds", "_bytes", "_info", "_total", "_ratio")
COUNTS = {  # gauges that count things, which have no unit
    "recorder_archive_files",
    "recorder_connections_open",
    "recorder_connections_wanted",
    "recorder_holes_open",
    "recorder_ids_missing",
    "recorder_ids_vanished",
    "recorder_market_running",
    "recorder_pairs",
    "recorder_quarantined_pairs",
    "recorder_ready",
    "recorder_renumbered_pairs",
    "recorder_rest_requests_per_second",
}


def watched(ledger: Ledger, pairs: list[str]) -> Metrics:
    metrics = Metrics()
    metrics.watch(ledger, pairs)
    return metrics


def test_names_follow_the_convention_and_say_what_they_are() -> None:
    ledger = Ledger()
    ledger.observe_trades(trades(1, 2))
    families = list(text_string_to_metric_families(watched(ledger, [PAIR]).text().decode()))
    ours = [family for family in families if not family.name.startswith("process_")]
    assert len(ours) > 30
    for family in ours:
        assert family.name.startswith("recorder_")
        assert family.documentation
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name.endswith(UNITS) or name in COUNTS, name
        assert not name.endswith("_created")


def test_the_ledger_is_asked_when_somebody_scrapes() -> None:
    ledger, pairs = Ledger(), [PAIR, "ETH/USD", "DOGE/USD"]
    value = watched(ledger, pairs).registry.get_sample_value
    ledger.observe_trades([*trades(1, 5), *trades(8, 9), *trades(20, 21), *trades(3, 4, pair="ETH/USD")])
    ledger.know(Void(PAIR, Span(10, 12)))
    assert value("recorder_pairs") == 3
    assert value("recorder_holes_open") == 2
    assert value("recorder_ids_missing") == 2 + 7
    assert value("recorder_last_trade_timestamp_seconds", {"pair": PAIR}) == (T0_US + 21_000) / 1e6
    assert value("recorder_last_trade_timestamp_seconds", {"pair": "DOGE/USD"}) is None  # it has never traded
    pairs.remove(PAIR)
    assert value("recorder_last_trade_timestamp_seconds", {"pair": PAIR}) is None
    assert value("recorder_holes_open") == 0
    assert value("recorder_pairs") == 2


def test_no_more_than_a_thousand_pairs_have_a_series_of_their_own() -> None:
    ledger = Ledger()
    pairs = [f"P{number:04d}/USD" for number in range(PAIRS_LIMIT + 200)]
    for pair in reversed(pairs):
        ledger.observe_trades(trades(1, 1, pair=pair))
    text = watched(ledger, pairs).text().decode()
    assert text.count('pair="') == PAIRS_LIMIT
    assert f'pair="{pairs[PAIRS_LIMIT - 1]}"' in text
    assert f"recorder_pairs {PAIRS_LIMIT + 200}.0" in text
    assert "P0000" not in Metrics().text().decode()


def test_a_pair_with_any_name_stays_inside_its_label() -> None:
    ledger, name = Ledger(), 'A"\n} 1\nrecorder_up 1\\'
    ledger.observe_trades(trades(1, 1, pair=name))
    text = watched(ledger, [name]).text().decode()
    (sample,) = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "recorder_last_trade_timestamp_seconds"
    ]
    assert sample.labels == {"pair": name}
    assert "\nrecorder_up" not in text


def test_connections_requests_and_failures_are_counted_by_kind() -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    metrics.connected()
    metrics.disconnected("hung_up")
    assert value("recorder_connects_total") == 1
    assert value("recorder_disconnects_total", {"reason": "hung_up"}) == 1
    assert value("recorder_disconnects_total", {"reason": "ended"}) == 0
    error = RateLimited("EGeneral:Too many requests")
    metrics.rest_failed(error)
    metrics.requested("/0/public/Trades", error)
    metrics.requested("/0/public/Trades", None)
    assert value("recorder_rest_failures_total", {"kind": "RateLimited"}) == 1
    assert value("recorder_rest_requests_total", {"endpoint": "Trades", "outcome": "RateLimited"}) == 1
    assert value("recorder_rest_requests_total", {"endpoint": "Trades", "outcome": "ok"}) == 1


def test_what_is_not_known_yet_is_no_number() -> None:
    value = Metrics().registry.get_sample_value
    assert math.isnan(value("recorder_clock_offset_seconds") or 0)
    assert value("recorder_disk_runway_seconds") == math.inf
    assert value("recorder_frames_total", {"source": "rest"}) == 0


def test_a_drain_is_timed_and_dated() -> None:
    metrics = Metrics()
    metrics.drained(2.5, 1_700_000_000_000_000_000)
    assert metrics.registry.get_sample_value("recorder_drain_duration_seconds_sum") == pytest.approx(2.5)
    assert metrics.registry.get_sample_value("recorder_last_drain_timestamp_seconds") == 1_700_000_000
