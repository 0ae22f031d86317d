"""queries/analysis: each question on numbers checked by hand, and against plain pandas on real trades."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from recorder.core.model import Trade
from recorder.errors import UsageError
from recorder.query import catalogue
from recorder.query.connect import Archive, connect
from tests.archives import MINUTE_US, START, START_US, Written, at_us, candle, minute, sold, trade, trades
from tests.recorded_data import downloaded

Asked = Callable[..., list[dict[str, Any]]]
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


@pytest.fixture
def opened(archive: Written) -> Iterator[Archive]:
    with connect(archive.data) as connection:
        yield connection


@pytest.fixture
def asking(opened: Archive) -> Asked:
    """Ask a question by name, as `recorder query` does; return rows of exact values."""

    def answer(name: str, **given: object) -> list[dict[str, Any]]:
        question = catalogue.question(name)
        table = opened.sql(question.text, to="arrow", dtype_backend=None, decimals=True, **question.bound(given))
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    return answer


def frame(rows: list[Trade]) -> pd.DataFrame:
    """Return trades as plain pandas, in doubles."""
    return pd.DataFrame(
        {
            "trade_id": [row.trade_id for row in rows],
            "time": pd.to_datetime([row.time_us for row in rows], unit="us", utc=True),
            "price": [float(row.price) for row in rows],
            "qty": [float(row.qty) for row in rows],
            "side": [row.side for row in rows],
        }
    )


def hourly(plain: pd.DataFrame, *, from_the_first: bool = False) -> pd.DataFrame:
    """Return hourly bars by pandas, hours without trades filled with the close before."""
    price = plain.set_index("time")["price"].resample("1h")
    bars = pd.DataFrame({"open": price.first(), "high": price.max(), "low": price.min(), "close": price.last()})
    bars["volume"] = plain.set_index("time")["qty"].resample("1h").sum()
    bars["count"] = price.count()
    bars["close"] = bars["close"].ffill()
    for name in ("open", "high", "low"):
        bars[name] = bars[name].fillna(bars["close"])
    # An hour is whole if no id is missing from the trade before it to the first trade after it.
    ids = plain["trade_id"].to_numpy()
    breaks = np.flatnonzero(np.diff(ids) > 1)
    after, before = plain["time"].iloc[breaks], plain["time"].iloc[breaks + 1]
    hour = pd.Timedelta(hours=1)
    touched = [((after < start + hour).to_numpy() & (before >= start).to_numpy()).any() for start in bars.index]
    complete = ~np.array(touched)
    complete[0] &= from_the_first
    complete[-1] = False
    bars["complete"] = complete
    return bars


def days(bars: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """Return the UTC day of each bar."""
    times: pd.Series[pd.Timestamp] = bars.index.to_series()
    return times.dt.floor("1D")


def test_vwap_and_twap_by_hand(archive: Written, asking: Asked) -> None:
    archive.listed("BTC/USD", 2)
    archive.append(
        [
            trade(1, at_us(0.25), "10", "1"),
            trade(2, at_us(0.75), "20", "2"),
            trade(3, at_us(2.5), "40", "1"),
            trade(5, at_us(4.5), "50", "1"),
        ]
    )
    rows = asking("vwap", pair="BTC/USD", width="1 minute")
    assert [
        (row["time"], row["vwap"], row["twap"], row["count"], row["complete"], row["missing_trades"]) for row in rows
    ] == [
        # 10 for 30 s and 20 for 15 s, of the 45 that are known
        (minute(0), Decimal("16.66"), Decimal("13.33"), 2, True, 0),
        (minute(1), None, Decimal(20), 0, True, 0),
        (minute(2), Decimal(40), Decimal(40), 1, False, 1),  # 4 may lie before 3, so 20 is not carried into it
        (minute(3), None, None, None, False, 1),
        (minute(4), Decimal(50), Decimal(50), 1, False, 1),
    ]


def test_vwap_and_twap_equal_python_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.listed("BTC/USDT", 1)
    archive.append(made)
    rows = {row["time"]: row for row in asking("vwap", pair="BTC/USDT")}
    checked = 0
    for start, row in rows.items():
        begin = int(start.timestamp()) * 1_000_000
        inside = [one for one in made if begin <= one.time_us < begin + HOUR_US]
        before = [one for one in made if one.time_us < begin][-1:]
        if not inside or not before:
            continue
        carried = [Trade(**{**msgspec.structs.asdict(before[0]), "time_us": begin})]
        held = inside if row["missing_trades"] else [*carried, *inside]
        ends = [one.time_us for one in held[1:]] + [begin + HOUR_US]
        area = sum((one.price * (end - one.time_us) for one, end in zip(held, ends, strict=True)), Decimal(0))
        assert row["twap"] == (area / (begin + HOUR_US - held[0].time_us)).quantize(Decimal("0.1"), ROUND_DOWN)
        amount = sum((one.price * one.qty for one in inside), Decimal(0))
        volume = sum((one.qty for one in inside), Decimal(0))
        assert row["vwap"] == (amount / volume).quantize(Decimal("0.1"), ROUND_DOWN)
        checked += 1
    assert checked > 120


def test_returns_by_hand(archive: Written, asking: Asked) -> None:
    archive.append([trade(1, at_us(0), "10"), trade(2, at_us(1), "11"), trade(3, at_us(3), "5.5"), trade(4, at_us(4))])
    rows = asking("returns", pair="BTC/USD", width="1 minute", stop=minute(4))
    assert [(row["close"], row["change"], row["complete"]) for row in rows] == [
        (10, None, False),
        (11, 1, True),
        (11, 0, True),
        (Decimal("5.5"), Decimal("-5.5"), True),
    ]
    assert [row["simple_return"] for row in rows] == [None, 0.1, 0, -0.5]
    assert rows[3]["log_return"] == pytest.approx(math.log(0.5))


def test_returns_equal_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    rows = pd.DataFrame(asking("returns", pair="BTC/USDT")).set_index("time")
    bars = hourly(frame(made))
    assert len(rows) == len(bars)
    sure = rows["complete"].to_numpy()
    assert sure.sum() > 50
    assert (sure == (bars["complete"] & bars["complete"].shift(1, fill_value=False)).to_numpy()).all()
    expected = np.log(bars["close"] / bars["close"].shift())
    np.testing.assert_allclose(rows["log_return"][sure].astype(float), expected[sure], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        rows["simple_return"][sure].astype(float), np.expm1(expected)[sure], rtol=1e-9, atol=1e-13
    )


def test_volatility_by_hand(archive: Written, asking: Asked) -> None:
    # Minute 0: 100; minute 1: 100 110 100 105; minute 2: 105 105 90 100.
    prices = {0: [100], 1: [100, 110, 100, 105], 2: [105, 105, 90, 100], 3: [1]}
    made = [
        trade(index, at_us(number + position / 10), str(price))
        for index, (number, position, price) in enumerate(
            ((number, position, price) for number, bar in prices.items() for position, price in enumerate(bar)), start=1
        )
    ]
    archive.append(made)
    # A period is never cut by the range: of three minutes, they are those of the first.
    (row,) = asking("volatility", pair="BTC/USD", width="1 minute", per="3 minutes", stop=minute(2))
    scale = math.sqrt(365 * 24 * 60)
    ln = math.log
    assert (row["bars"], row["left_out"], row["missing_trades"]) == (3, 0, 0)
    r = [ln(1.05), ln(100 / 105)]
    assert row["close_to_close"] == pytest.approx(scale * np.std(r, ddof=1))
    ranges = [0, ln(1.1), ln(105 / 90)]
    assert row["parkinson"] == pytest.approx(scale * math.sqrt(sum(x * x for x in ranges) / (3 * 4 * ln(2))))
    c = [0, ln(1.05), ln(100 / 105)]
    garman_klass = sum(0.5 * x * x - (2 * ln(2) - 1) * y * y for x, y in zip(ranges, c, strict=True)) / 3
    assert row["garman_klass"] == pytest.approx(scale * math.sqrt(garman_klass))
    o = [0.0, 0.0]
    rs = [0, ln(110 / 105) * ln(1.1) + 0, 0 + ln(90 / 100) * ln(90 / 105)]
    k = 0.34 / (1.34 + 4 / 2)
    yang_zhang = np.var(o, ddof=1) + k * np.var(c, ddof=1) + (1 - k) * sum(rs) / 3
    assert row["yang_zhang"] == pytest.approx(scale * math.sqrt(yang_zhang))


def test_volatility_leaves_out_what_a_hole_touches(archive: Written, asking: Asked) -> None:
    archive.append([trade(n, at_us(n), str(100 + n)) for n in range(1, 20) if n != 9])
    (row,) = asking("volatility", pair="BTC/USD", width="1 minute")
    # The bars of 8 and 10 and what lies between; that of 19 may be cut.
    assert (row["bars"], row["left_out"], row["missing_trades"]) == (15, 4, 1)


def test_volatility_equals_numpy_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    bars = hourly(frame(made))
    sure = bars[bars["complete"]].copy()
    before = bars["close"].where(bars["complete"]).shift()[bars["complete"]]
    sure["r"] = np.log(sure["close"] / before)
    sure["o"] = np.log(sure["open"] / before)
    rows = asking("volatility", pair="BTC/USDT")
    assert len(rows) == 6
    scale = math.sqrt(365 * 24)
    for row in rows:
        day = sure[days(sure) == row["time"]]
        n = len(day)
        assert row["bars"] == n
        assert row["left_out"] == (days(bars) == row["time"]).sum() - n
        hl, co = np.log(day["high"] / day["low"]), np.log(day["close"] / day["open"])
        rs = np.log(day["high"] / day["close"]) * np.log(day["high"] / day["open"])
        rs += np.log(day["low"] / day["close"]) * np.log(day["low"] / day["open"])
        k = 0.34 / (1.34 + (n + 1) / (n - 1))
        expected = {
            "close_to_close": day["r"].std(),
            "parkinson": math.sqrt((hl**2).mean() / (4 * math.log(2))),
            "garman_klass": math.sqrt((0.5 * hl**2 - (2 * math.log(2) - 1) * co**2).mean()),
            "yang_zhang": math.sqrt(day["o"].var() + k * co.var() + (1 - k) * rs.mean()),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value * scale, rel=1e-9), name


def test_order_flow_by_hand(archive: Written, asking: Asked) -> None:
    archive.append(
        [trade(1, at_us(0), qty="3"), sold(trade(2, at_us(0.1), qty="1")), sold(trade(3, at_us(2), qty="2"))]
    )
    names = ("buy_volume", "sell_volume", "signed_volume", "net_volume", "imbalance", "count", "complete")
    rows = asking("order_flow", pair="BTC/USD", width="1 minute")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (3, 1, 2, 2, 0.5, 2, True),
        (0, 2, -2, 0, -1, 1, False),
    ]


def test_order_flow_equals_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    plain = frame(made)
    plain["signed"] = plain["qty"].where(plain["side"] == "buy", -plain["qty"])
    hours = plain.groupby(plain["time"].dt.floor("1h"))[["signed", "qty"]].sum()
    rows = pd.DataFrame(asking("order_flow", pair="BTC/USDT")).set_index("time")
    assert len(rows) == len(hours)
    np.testing.assert_allclose(rows["signed_volume"].astype(float), hours["signed"], atol=1e-9)
    np.testing.assert_allclose(rows["imbalance"], hours["signed"] / hours["qty"], atol=1e-9)
    last_day = made[-1].time_us // DAY_US
    of_day = [one for one in made if one.time_us // DAY_US == last_day]
    total = sum((one.qty if one.side == "buy" else -one.qty for one in of_day), Decimal(0))
    assert rows["net_volume"].iloc[-1] == total


def test_volume_profile_by_hand(archive: Written, asking: Asked) -> None:
    archive.append(
        [trade(1, price="100"), sold(trade(2, price="109.99")), trade(4, price="110", qty="2"), trade(5, price="131")]
    )
    rows = asking("volume_profile", pair="BTC/USD", step="10")
    assert [tuple(row.values()) for row in rows] == [
        (100, 110, 2, 1, 1, 2, 0.4, 1),
        (110, 120, 2, 2, 0, 1, 0.4, 1),
        (130, 140, 1, 1, 0, 1, 0.2, 1),
    ]
    # 31 in 50 levels at most: the power of ten is 1.
    assert [row["from_price"] for row in asking("volume_profile", pair="BTC/USD")] == [100, 109, 110, 131]
    assert len(asking("volume_profile", pair="BTC/USD", start=minute(0), stop=START + timedelta(seconds=2))) == 1


def test_volume_profile_equals_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    plain = frame(made)
    levels = plain.groupby((plain["price"] // 100) * 100)["qty"].agg(["sum", "count"])
    rows = pd.DataFrame(asking("volume_profile", pair="BTC/USDT", step="100"))
    assert rows["from_price"].astype(float).tolist() == levels.index.tolist()
    assert rows["count"].tolist() == levels["count"].tolist()
    np.testing.assert_allclose(rows["volume"].astype(float), levels["sum"], atol=1e-9)
    assert rows["share"].sum() == pytest.approx(1)
    assert (rows["missing_trades"] == 26).all()


def test_trade_sizes_by_hand(archive: Written, asking: Asked) -> None:
    quantities = ["0.00000001", "0.1", "0.99999999", "1", "9.5", "2", "1000"]
    archive.append([trade(n, qty=qty) for n, qty in enumerate(quantities, start=1)])
    rows = asking("trade_sizes", pair="BTC/USD")
    told = ("from_qty", "to_qty", "count", "volume", "amount", "median_qty", "largest_qty")
    assert [tuple(row[name] for name in told) for row in rows] == [
        (Decimal("1e-8"), Decimal("1e-7"), 1, Decimal("1e-8"), Decimal("1e-6"), Decimal("1e-8"), Decimal("1e-8")),
        (Decimal("0.1"), 1, 2, Decimal("1.09999999"), Decimal("109.999999"), Decimal("0.1"), Decimal("0.99999999")),
        (1, 10, 3, Decimal("12.5"), 1250, 2, Decimal("9.5")),
        (1000, 10000, 1, 1000, 100_000, 1000, 1000),
    ]
    assert [row["share_of_trades"] for row in rows] == [1 / 7, 2 / 7, 3 / 7, 1 / 7]
    assert {row["missing_trades"] for row in rows} == {0}


def test_trade_sizes_equal_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    exponents = [one.qty.adjusted() for one in made]
    plain = pd.DataFrame({"exponent": exponents, "qty": [one.qty for one in made]})
    groups = plain.groupby("exponent")["qty"]
    rows = pd.DataFrame(asking("trade_sizes", pair="BTC/USDT"))
    assert rows["from_qty"].tolist() == [Decimal(1).scaleb(exponent) for exponent in sorted(set(exponents))]
    assert rows["volume"].tolist() == groups.sum().tolist()
    assert rows["largest_qty"].tolist() == groups.max().tolist()
    medians = [sorted(group)[(len(group) - 1) // 2] for _, group in groups]
    assert rows["median_qty"].tolist() == medians


def test_seasonality_by_hand(archive: Written, asking: Asked) -> None:
    # START is a Monday, noon. Of the second Monday only the hour before is silent, and its end is known.
    archive.append(
        [
            trade(1, START_US + HOUR_US // 2, "100", "1"),
            trade(2, START_US + HOUR_US, "110", "2"),
            trade(3, START_US + 7 * DAY_US, "121", "4"),
            trade(4, START_US + 7 * DAY_US + HOUR_US, "121", "8"),
        ]
    )
    rows = {(row["weekday"], row["hour"]): row for row in asking("seasonality", pair="BTC/USD")}
    assert len(rows) == 7 * 24
    noon, afternoon, sunday = rows[1, 12], rows[1, 13], rows[7, 3]
    assert noon["name"] == "Monday"
    assert (noon["hours"], noon["count"], noon["volume"], noon["mean_volume"]) == (2, 2, 5, 2.5)
    assert noon["volatility"] == pytest.approx(math.log(1.1))
    assert (afternoon["hours"], afternoon["volume"]) == (1, 2)  # the second one may not be over
    assert (sunday["hours"], sunday["count"], sunday["volatility"]) == (1, 0, 0)


def test_seasonality_equals_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    bars = hourly(frame(made))
    before = bars["close"].where(bars["complete"]).shift()
    bars["square"] = np.log(bars["close"] / before) ** 2
    sure = bars[bars["complete"]]
    groups = sure.groupby([sure.index.day_of_week + 1, sure.index.hour])  # type: ignore[attr-defined]
    rows = pd.DataFrame(asking("seasonality", pair="BTC/USDT"))
    assert list(zip(rows["weekday"], rows["hour"], strict=True)) == list(groups.groups)
    assert rows["hours"].tolist() == groups.size().tolist()
    assert rows["count"].tolist() == groups["count"].sum().tolist()
    np.testing.assert_allclose(rows["mean_volume"], groups["volume"].mean(), atol=1e-9)
    np.testing.assert_allclose(rows["volatility"].astype(float), np.sqrt(groups["square"].mean()), rtol=1e-9)


def test_correlation_by_hand(archive: Written, asking: Asked) -> None:
    up_and_down = {0: 100, 1: 110, 2: 99, 3: 108, 4: 108}
    for pair, factor in (("A/USD", 1), ("B/USD", 2)):
        archive.append([trade(n + 1, at_us(n), str(price * factor), pair=pair) for n, price in up_and_down.items()])
    # C does the opposite, is silent in minute 2, and has no trade 4, which is of minute 3.
    inverse = [(1, 0, "110"), (2, 1, "100"), (3, 3, "90"), (5, 3.5, "90"), (6, 4, "100")]
    archive.append([trade(trade_id, at_us(n), price, pair="C/USD") for trade_id, n, price in inverse])
    rows = asking("correlation", width="1 minute")
    assert [(row["pair_a"], row["pair_b"], row["bars"]) for row in rows] == [
        ("A/USD", "B/USD", 3),
        ("A/USD", "C/USD", 2),
        ("B/USD", "C/USD", 2),
    ]
    assert (rows[0]["correlation"], rows[0]["beta"]) == (pytest.approx(1), pytest.approx(1))
    a, c = [math.log(1.1), math.log(0.9)], [math.log(100 / 110), 0]
    assert rows[1]["correlation"] == pytest.approx(np.corrcoef(a, c)[0, 1])
    assert rows[1]["beta"] == pytest.approx((c[1] - c[0]) / (a[1] - a[0]))
    assert len(asking("correlation", pairs=["A/USD", "C/USD"], width="1 minute")) == 1
    ends = asking("correlation", pairs=["A/USD", "B/USD"], width="1 minute", start=minute(1), stop=minute(3))
    assert [row["bars"] for row in ends] == [2], "the first has the bar before the range to change from"


def test_correlation_fills_no_bars_up_to_a_trade_that_is_stamped_decades_ahead(archive: Written, asking: Asked) -> None:
    for pair in ("A/USD", "B/USD"):
        times_us = {n: 4_176_528_432_000_000 if n == 4 else at_us(n) for n in range(1, 8)}
        archive.append([trade(n, time_us, str(100 + n % 3), pair=pair) for n, time_us in times_us.items()])
    (row,) = asking("correlation", width="1 second")
    assert 300 < row["bars"] < 400


def test_correlation_equals_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    # A second pair from the same trades: those of even ids a little later, so that its closes are others.
    other = [
        msgspec.structs.replace(one, pair="ETH/USDT", trade_id=number, price=one.price + one.trade_id % 97)
        for number, one in enumerate(made[::3], start=1)
    ]
    archive.append([*made, *other])
    a, b = hourly(frame(made)), hourly(frame(other), from_the_first=True)
    closes = pd.DataFrame({"a": a["close"].where(a["complete"]), "b": b["close"].where(b["complete"])})
    returns = (closes / closes.shift()).dropna().apply(np.log)
    (row,) = asking("correlation")
    assert row["bars"] == len(returns) > 50
    assert row["correlation"] == pytest.approx(returns["a"].corr(returns["b"]), rel=1e-9)
    assert row["beta"] == pytest.approx(returns["a"].cov(returns["b"]) / float(returns["a"].std()) ** 2, rel=1e-9)


def test_largest_trades_are_by_amount(archive: Written, asking: Asked) -> None:
    archive.append([trade(1, price="10", qty="3"), trade(2, price="1", qty="20"), trade(3, price="30", qty="1")])
    rows = asking("largest_trades", pair="BTC/USD", limit="2")
    assert [(row["trade_id"], row["amount"]) for row in rows] == [(1, 30), (3, 30)]


def test_largest_trades_equal_python_on_real_trades(archive: Written, asking: Asked) -> None:
    made = downloaded()
    archive.append(made)
    largest = sorted(made, key=lambda one: (-one.price * one.qty, one.trade_id))[:20]
    rows = asking("largest_trades", pair="BTC/USDT")
    assert [(row["trade_id"], row["amount"]) for row in rows] == [
        (one.trade_id, one.price * one.qty) for one in largest
    ]


def test_feed_latency_counts_what_came_live(archive: Written, asking: Asked) -> None:
    def live(trade_id: int, delay_us: int | None, day: int = 0) -> Trade:
        time_us = START_US + day * DAY_US + trade_id
        received = None if delay_us is None else time_us + delay_us
        return msgspec.structs.replace(trade(trade_id, time_us), received_us=received)

    archive.append([live(1, 50_000), live(2, 10_000), live(3, None), live(4, 2_000_000), live(5, -7, 1), live(6, 9, 1)])
    names = ("day", "trades", "fetched", "min_us", "p50_us", "p90_us", "p99_us", "max_us")
    assert [tuple(row[name] for name in names) for row in asking("feed_latency", pair="BTC/USD")] == [
        (date(2025, 11, 10), 3, 1, 10_000, 50_000, 2_000_000, 2_000_000, 2_000_000),
        (date(2025, 11, 11), 2, 0, -7, -7, 9, 9, 9),
    ]


def test_feed_latency_equals_pandas_on_real_trades(archive: Written, asking: Asked) -> None:
    made = [
        msgspec.structs.replace(one, received_us=one.time_us + one.trade_id * 7919 % 90_001) for one in downloaded()
    ]
    archive.append(made)
    plain = pd.DataFrame({"time_us": [one.time_us for one in made], "received_us": [one.received_us for one in made]})
    groups = (plain["received_us"] - plain["time_us"]).groupby(plain["time_us"] // DAY_US)
    rows = pd.DataFrame(asking("feed_latency", pair="BTC/USDT"))
    assert rows["trades"].tolist() == groups.size().tolist()
    for name, share in (("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99)):
        expected = groups.quantile(share, interpolation="higher"), groups.quantile(share, interpolation="lower")
        assert all(low <= got <= high for got, high, low in zip(rows[name], *expected, strict=True))


def test_candle_audit_is_asked_by_name(archive: Written, asking: Asked) -> None:
    archive.append([trade(n, at_us(n)) for n in range(1, 4)])
    archive.published([candle(n) for n in (1, 2, 3)])
    rows = asking("candle_audit", pair="BTC/USD", start=minute(2))
    assert [(row["time"], row["verdict"]) for row in rows] == [(minute(2), "equal"), (minute(3), "equal")]


def test_certificates_are_of_the_range_and_hashed_on_request(archive: Written, asking: Asked) -> None:
    archive.append([trade(n, START_US + n * DAY_US // 2) for n in range(1, 9)])
    archive.append(trades(1, 3, pair="ETH/USD"))
    every = asking("certificates", start="2025-11-11T12:00:00Z", stop="2025-11-14")
    assert {row["pair"] for row in every} == {"BTC/USD", "ETH/USD"}
    rows = asking("certificates", pair="BTC/USD", start="2025-11-11T12:00:00Z", stop="2025-11-14", hashed="true")
    assert [(row["day"].day, row["status"], row["rows"]) for row in rows] == [
        (11, "complete", 2),
        (12, "complete", 2),
        (13, "complete", 2),
    ]
    assert all(len(row["sha256"]) == 64 for row in rows)
    assert all(row["sha256"] is None for row in every)


def test_the_calendar_has_a_sign_for_each_day_of_the_month(archive: Written, asking: Asked) -> None:
    # Trades on the 10th, 12th and 15th of November; then on the 2nd of December, with one missing before it.
    days = {1: 0, 2: 2, 3: 5, 5: 22}
    archive.append([trade(trade_id, START_US + day * DAY_US) for trade_id, day in days.items()])
    rows = asking("coverage_calendar", pair="BTC/USD", stop="2025-12-03")
    assert [tuple(row.values()) for row in rows] == [
        ("BTC/USD", "2025-11", ".........#-#--" + "o" * 16, 5, 16, 16),
        ("BTC/USD", "2025-12", "oo" + "." * 29, 0, 2, 2),
    ]
    assert asking("coverage_calendar", start="2025-11-11", stop="2025-11-12")[0]["days"] == "." * 10 + "-" + "." * 19


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("time_bars", {"width": "1 minute", "filled": True}),
        ("tick_bars", {"size": 7}),
        ("volume_bars", {"size": Decimal("2.5")}),
        ("dollar_bars", {"size": 300}),
    ],
)
def test_bars_are_asked_by_name(archive: Written, asking: Asked, name: str, given: dict[str, object]) -> None:
    archive.append(trades(1, 130))
    rows = asking(name, pair="BTC/USD", start=minute(1), stop=minute(2), **given)
    # Bars of a size are made since midnight, and are those whose first trade is in the range.
    assert (rows[0]["first_id"], rows[-1]["last_id"]) == {"volume_bars": (61, 120), "dollar_bars": (61, 120)}.get(
        name, (60, 119)
    )
    assert sum(row["count"] for row in rows) == 60


def test_an_archive_without_trades_has_no_rows_and_no_errors(archive: Written, asking: Asked) -> None:
    given = {"pair": "BTC/USD", "size": "5", "start": minute(1), "stop": minute(2)}
    for question in catalogue.questions():
        needed = {one.name: given[one.name] for one in question.missing({})}
        of_books = "book" in question.text
        with pytest.raises(UsageError, match="no book of 'BTC/USD'") if of_books else contextlib.nullcontext():
            assert asking(question.name, **needed) == [], question.name
