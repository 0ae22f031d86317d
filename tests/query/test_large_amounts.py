"""A trade whose price * qty fits no decimal costs its own bar the amount and the vwap, and ends no question."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from recorder.query import catalogue
from recorder.query.connect import connect
from tests.archives import MINUTE_US, START_US, Ask, Written, candle, trade

LARGE = "9999999999.9"
BARS = [
    "candles('BTC/USD', '1m')",
    "time_bars('BTC/USD', '1 minute')",
    "tick_bars('BTC/USD', 2)",
]
BARS_BY_SIZE = ["volume_bars('BTC/USD', 2)", "dollar_bars('BTC/USD', 200)"]


@pytest.fixture(params=[(LARGE, LARGE), ("0.0001", "99999999999999999999"), ("999999999999999", "5")])
def odd(archive: Written, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Archive six trades, two a minute, of which the second is odd; the candle of the first minute is lost."""
    price, qty = request.param
    ordinary = [trade(number, START_US + (number - 1) * MINUTE_US // 2) for number in (1, 3, 4, 5, 6)]
    archive.append([*ordinary[:1], trade(2, START_US + MINUTE_US // 2, price, qty), *ordinary[1:]])
    archive.published([candle(-1), candle(2)])
    return price, qty


@pytest.mark.parametrize("relation", BARS)
def test_its_bar_has_neither_amount_nor_vwap_and_the_others_have(odd: tuple[str, str], ask: Ask, relation: str) -> None:
    price, qty = map(Decimal, odd)
    found = ask(f"SELECT vwap, close, volume, count FROM {relation} ORDER BY time")
    assert found == [(None, price, qty + 1, 2), (Decimal(100), Decimal(100), 2, 2), (Decimal(100), Decimal(100), 2, 2)]


@pytest.mark.parametrize("relation", BARS_BY_SIZE)
def test_bars_of_a_size_go_on_after_it(odd: tuple[str, str], ask: Ask, relation: str) -> None:
    found = ask(f"SELECT vwap, first_id FROM {relation} ORDER BY time")
    assert [vwap for vwap, _ in found if vwap is not None] == [Decimal(100)] * (len(found) - 1)
    assert len(found) > 1


def test_what_is_built_for_a_lost_candle_has_no_vwap(odd: tuple[str, str], ask: Ask) -> None:
    assert ask("SELECT vwap, count FROM ohlc_filled WHERE source = 'trades' ORDER BY time") == [
        (None, 2),
        (Decimal(100), 2),
    ]


def test_candles_in_frames_have_none(archive: Written, odd: tuple[str, str]) -> None:
    with connect(archive.data) as opened:
        found = opened.candles("BTC/USD", "1m")
    assert found["vwap"].isna().tolist() == [True, False, False]
    assert found["close"].tolist() == [float(odd[0]), 100.0, 100.0]


def test_no_analysis_ends_with_it(archive: Written, odd: tuple[str, str]) -> None:
    given = {"pair": "BTC/USD", "size": "2"}
    with connect(archive.data) as opened:
        for question in catalogue.questions():
            if question.name == "trade_sizes" and odd[1] == "99999999999999999999":
                continue  # the next power of ten is no quantity
            wanted = {parameter.name for parameter in question.parameters}
            params: dict[str, Any] = question.bound({key: value for key, value in given.items() if key in wanted})
            assert opened.sql(question.text, to="arrow", **params).num_columns, question.name
