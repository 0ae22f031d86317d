from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.core.model import Candle, Trade
from recorder.query.candle_audit import SeriesAudit, reconcile
from recorder.query.connect import connect
from tests.archives import START_US, candle, trade, writing
from tests.end_to_end.harness import SHARED

PAGES = SHARED / "data/real/rest"
TETHER = "BTC/USDT"


def test_only_series_and_days_that_are_asked_for_are_compared(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    with writing(tmp_path) as archive:
        archive.append([trade(one, START_US + one * day_us) for one in range(1, 5)])
        daily = [candle(one * 1440 - 720, "100", "100", "100", "100", "100", "1", 1, timeframe="1d") for one in (1, 2)]
        archive.published(daily)
        archive.published([candle(0, pair="ETH/USD")])
    with connect(tmp_path) as opened:
        (series,) = reconcile(opened, ["BTC/USD"], first=date(2025, 11, 12), last=date(2025, 11, 12))
        assert series == SeriesAudit("BTC/USD", "1d", equal=1, different={}, unexplained_at=None, differing=())
        assert [one.compared for one in reconcile(opened, ["BTC/USD"])] == [2]
        assert [one.compared for one in reconcile(opened, ["BTC/USD"], first=date.min, last=date.max)] == [2]
        assert [one.pair for one in reconcile(opened, ["ETH/USD"])] == ["ETH/USD"]
        assert list(reconcile(opened, [])) == []


def test_candles_of_a_pair_without_trades_lie_beyond_what_is_held(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.published([candle(0), candle(1)])
    with connect(tmp_path) as opened:
        (series,) = reconcile(opened, ["BTC/USD"])
    assert (series.equal, series.different) == (0, {"edge": 2})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data in ../shared is not here")
def test_real_candles_agree_with_real_trades_but_for_the_edges_of_the_page(tmp_path: Path) -> None:
    page = json.loads((PAGES / "trades_XBTUSDT_2025-11-10.json").read_text(), parse_float=str)["result"]["XBTUSDT"]
    rows = json.loads((PAGES / "ohlc1_XBTUSDT_2025-11-10.json").read_text(), parse_float=str)["result"]["XBTUSDT"]
    with writing(tmp_path) as archive:
        archive.listed(TETHER, 1)
        archive.append([made(row) for row in page])
        archive.published([published(row) for row in rows[:-1]])
    with connect(tmp_path) as opened:
        (series,) = reconcile(opened, [TETHER])
    # 273 minutes with trades and 137 without are whole (PROVENANCE.md). The 310 others reach beyond the page; of some
    # of them the exchange itself says that there was nothing.
    first_s, last_s = (made(row).time_us // 1_000_000 for row in (page[0], page[-1]))
    beyond = [row for row in rows[:-1] if int(row[0]) <= first_s or int(row[0]) > last_s]
    silent = sum(int(row[-1]) == 0 for row in beyond)
    assert len(beyond) == 720 - 273 - 137
    assert series == SeriesAudit(TETHER, "1m", 273 + 137 + silent, {"edge": len(beyond) - silent}, None, ())


def made(row: list[str]) -> Trade:
    price, qty, time, side, _, misc, trade_id = row
    taker = "buy" if side == "b" else "sell"
    numbers = int(Decimal(time) * 1_000_000), Decimal(price), Decimal(qty)
    return Trade(TETHER, int(trade_id), *numbers, taker, "limit", misc, "rest", None)  # type: ignore[arg-type]


def published(row: list[str]) -> Candle:
    opened, high, low, close, vwap, volume = map(Decimal, row[1:-1])
    return Candle(TETHER, "1m", int(row[0]) * 1_000_000, opened, high, low, close, vwap, volume, int(row[-1]))
