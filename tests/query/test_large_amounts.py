"""A trade whose price * qty fits no decimal costs its own bar the amount and the vwap, and ends no question."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.query import catalogue
from recorder.query.connect import Archive, connect
from tests.archives import MINUTE_US, START, START_US, Ask, Written, candle, trade, writing

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


PRICE, QTY = "9999999999999999.999999999999", "99999999999999999999.99999999"
"""The largest that the format admits."""
ODD = [(PRICE, "0.00000001"), ("0.000000000001", QTY), (PRICE, QTY), ("1", QTY), (PRICE, "1"), ("0", "0.00000001")]
ODD += [("999999999999", "0.99999999"), ("0.000000000001", "0.00000001")]
RELATIONS = [
    *(
        "candles($pair, '1m')",
        "candles_of([$pair], '1m')",
        "candle_audit($pair, '1m')",
        "pair_ohlc_filled($pair, '1m')",
    ),
    *("time_bars($pair, '1 minute', filled := true)", "tick_bars($pair, 3)", "volume_bars($pair, 2)"),
    *("volume_bars($pair, 100000000000000000)", "dollar_bars($pair, 200)", "ohlc_filled WHERE pair = $pair"),
]
GIVEN = {"pair": "BTC/USD", "size": "2", "hashed": "true", "step": "2"}
RANGE = {"start": START.isoformat(), "stop": (START + timedelta(minutes=5)).isoformat()}


@pytest.fixture(scope="module")
def extremes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Archive odd trades between ordinary ones, a minute each, of which no candle was published."""
    with writing(tmp_path_factory.mktemp("extremes") / "data") as written:
        made = [("100", "1"), *(two for one in ODD for two in (one, ("100", "1")))]
        written.append([trade(n, START_US + n * MINUTE_US // 2, *one) for n, one in enumerate(made, start=1)])
        written.append([trade(n, START_US + n * MINUTE_US, PRICE, QTY, pair="ETH/USD") for n in (1, 2, 3)])
        written.published([candle(-1), candle(8)])
        written.one_book({"9999999999999999.999999999998": QTY}, {PRICE: QTY}, START_US)
        with connect(written.data) as opened:
            yield opened


@pytest.mark.parametrize("name", [*RELATIONS, *sorted(question.name for question in catalogue.questions())])
def test_no_macro_and_no_analysis_ends_with_what_is_largest(extremes: Archive, name: str) -> None:
    if name in RELATIONS:
        assert extremes.sql(f"FROM {name}", to="arrow", pair="BTC/USD").num_rows
        return
    question = catalogue.question(name)
    given = GIVEN | {name: RANGE[name] for parameter in question.missing(GIVEN) if (name := parameter.name) in RANGE}
    wanted = {parameter.name for parameter in question.parameters} - ({"step"} if name == "volume_profile" else set())
    params: dict[str, Any] = question.bound({key: value for key, value in given.items() if key in wanted})
    assert extremes.sql(question.text, to="arrow", dtype_backend=None, decimals=True, **params).num_columns


def test_frames_of_what_is_largest_are_exact(extremes: Archive) -> None:
    assert extremes.trades("ETH/USD", decimals=True)["qty"].tolist() == [Decimal(QTY)] * 3
    assert extremes.candles("ETH/USD", "1m", decimals=True, hashed=True)["high"].tolist() == [Decimal(PRICE)] * 3
    assert extremes.trades("ETH/USD")["price"].tolist() == [1e16] * 3
    filled = extremes.ohlc("BTC/USD", "1m", filled=True, decimals=True)
    assert Decimal(PRICE) in set(filled["high"])
    assert len(extremes.ohlc("BTC/USD", "1m", filled=True)) == len(filled)


@pytest.mark.parametrize(
    ("bars", "said"),
    [
        ("volume_bars('BTC/USD', 99999999999999999999)", "at most 10\\^17"),
        ("dollar_bars('BTC/USD', 0.00000001)", "is too small: choose a larger one"),
    ],
)
def test_a_size_that_cannot_be_counted_is_an_error_that_says_so(extremes: Archive, bars: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        extremes.sql(f"FROM {bars}")
