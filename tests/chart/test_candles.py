"""The data of the interactive chart: what is on a page, exactly, and how large it gets."""

from __future__ import annotations

import random
import subprocess
import sys
from decimal import Decimal

import pytest

from recorder.chart import candles
from recorder.chart.candles import Band, Bar, CandleChart, candidates
from recorder.chart.page import candle_page
from recorder.core.model import TIMEFRAMES

MINUTE_US = 60_000_000
BEGIN_US = 29_379_600 * MINUTE_US
DAY_US = 86_400_000_000


def bar(minute: int, *prices: str, volume: str = "1", trades: int = 1) -> Bar:
    first, high, low, last = (Decimal(price) for price in prices or ("100", "100", "100", "100"))
    return Bar(BEGIN_US + minute * MINUTE_US, first, high, low, last, Decimal(volume), trades)


def chart(*bars: Bar, bands: tuple[Band, ...] = (), minutes: int = 60) -> CandleChart:
    return CandleChart("BTC/USD", "1m", bars, bands, BEGIN_US, BEGIN_US + minutes * MINUTE_US)


def test_prices_and_volumes_are_integers_of_no_more_digits_than_they_need() -> None:
    data = chart(
        bar(0, "100.50", "101.25", "99.000000000000", "100", volume="0.10000000", trades=3),
        bar(2, "99", "102.5", "98", "102", volume="123456789012.12345678"),
    ).data()
    assert (data["priceDigits"], data["volumeDigits"]) == (2, 8)
    assert data["bars"] == {
        "gap": [29_379_600, 2],
        "open": [10_050, -100],
        "high": [75, 50],
        "low": [100, 100],
        "close": [-50, 300],
        "volume": "10000000,12345678901212345678",
        "count": [3, 1],
    }


def test_a_price_of_more_digits_than_javascript_has_is_cut_and_not_rounded() -> None:
    data = chart(bar(0, *["1234567890123.999999999999"] * 4), bar(1, *["0.000000000001"] * 4)).data()
    assert data["priceDigits"] == 3
    assert data["bars"]["open"] == [1_234_567_890_123_999, -1_234_567_890_123_999]


@pytest.mark.parametrize("timeframe", list(TIMEFRAMES))
def test_a_page_takes_the_finest_bars_that_it_has_room_for(timeframe: str) -> None:
    for days in (0.01, 1, 14, 15, 365, 3 * 365, 12 * 365):
        span_us = int(days * DAY_US)
        first = candidates(timeframe, span_us)[0]
        finer = [name for name in TIMEFRAMES if TIMEFRAMES[timeframe] <= TIMEFRAMES[name] < TIMEFRAMES[first]]
        assert span_us <= candles.SLOTS * TIMEFRAMES[first] * MINUTE_US
        assert all(span_us > candles.SLOTS * TIMEFRAMES[name] * MINUTE_US for name in finer)


def test_buttons_are_the_timeframes_that_can_be_made_and_seen() -> None:
    def buttons(timeframe: str, days: float) -> list[str]:
        until_us = BEGIN_US + int(days * DAY_US)
        made = CandleChart("BTC/USD", timeframe, [bar(0)], [], BEGIN_US, until_us).data()["timeframes"]
        assert all(minutes == TIMEFRAMES[name] for name, minutes in made)
        return [name for name, _ in made]

    assert buttons("1m", 0.0001) == ["1m"]
    assert buttons("1m", 1) == ["1m", "5m", "15m", "30m", "1h", "4h", "12h"]
    assert buttons("4h", 3 * 365) == ["4h", "12h", "1d", "1w", "15d"]
    assert buttons("1w", 3 * 365) == ["1w"]  # fifteen days are no whole number of weeks


def test_very_many_gaps_are_joined_where_they_share_a_bar_and_nowhere_else() -> None:
    second_us = 1_000_000
    bands = [
        Band("missing", BEGIN_US + n * 10 * second_us, BEGIN_US + (n * 10 + 1) * second_us, 2)
        for n in range(candles.BANDS + 1)
        if n % 12 < 6  # every second minute is without a gap
    ]
    assert len(chart(bar(0), bands=tuple(bands)).data()["spans"]) == len(bands)
    bands += [band._replace(kind="repaired") for band in bands]
    found = chart(bar(0), bands=tuple(bands)).data()["spans"]
    missing = [span for span in found if span["kind"] == "missing"]
    assert [span["from"] for span in missing[:2]] == [BEGIN_US // 1000, BEGIN_US // 1000 + 120_000]
    assert missing[0]["until"] == BEGIN_US // 1000 + 51_000
    assert sum(span["missing"] for span in missing) == 2 * len(bands) // 2


def test_an_open_end_stays_open_when_gaps_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles, "BANDS", 1)
    bands = (Band("missing", BEGIN_US, None, 1), Band("missing", None, BEGIN_US, None))
    (span,) = chart(bar(0), bands=bands).data()["spans"]
    assert (span["from"], span["until"], span["missing"]) == (None, None, None)


def test_a_full_page_of_the_longest_numbers_is_below_2_mb() -> None:
    draw = random.Random(1)

    def price(low: int, high: int) -> Decimal:
        return Decimal(draw.randint(low, high)).scaleb(-10)

    bars = []
    for minute in range(candles.SLOTS):
        first, last = price(10**9, 2 * 10**9), price(10**9, 2 * 10**9)
        high, low = max(first, last) + price(1, 10**8), min(first, last) - price(1, 10**8)
        volume = Decimal(draw.randint(1, 10**17)).scaleb(-8)
        bars.append(Bar(BEGIN_US + minute * MINUTE_US, first, high, low, last, volume, draw.randint(1, 9999)))
    bands = [
        Band("missing", place, place + MINUTE_US, 123_456)
        for place in range(BEGIN_US, BEGIN_US + candles.BANDS * 10 * MINUTE_US, 10 * MINUTE_US)
    ]
    full = CandleChart("MOG/USD", "1m", bars, bands, BEGIN_US, BEGIN_US + candles.SLOTS * MINUTE_US)
    assert len(full.json().encode()) <= candles.DATA_BYTES
    page = candle_page(full)
    assert 1_000_000 < len(page.encode()) < 2_000_000


def test_the_chart_needs_nothing_but_rows() -> None:
    heavy = {"altair", "asyncio", "duckdb", "numpy", "pandas", "polars", "pyarrow"}
    code = f"import sys; import recorder.chart.page; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
