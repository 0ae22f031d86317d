from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from recorder.reader.figures import FIGURES, figures

NOON = datetime(2025, 11, 10, 12, tzinfo=UTC)


def minutes(*numbers: float) -> list[datetime]:
    return [NOON + timedelta(minutes=number) for number in numbers]


def test_columns_of_numbers_over_time_are_lines_at_the_places_of_their_times() -> None:
    price = pa.array([Decimal("2.0"), Decimal("1.0"), None, Decimal("3.0")], pa.decimal128(10, 1))
    table = pa.table({"side": list("abab"), "time": minutes(10, 0, 20, 40), "trade_id": [2, 1, 3, 4], "price": price})
    (one,) = figures(table)
    assert (one.name, one.kind) == ("price", "line")
    assert one.shape == "M0,100 250,50M1000,0 1000,0"
    assert (one.low, one.high) == ("1", "3")
    assert (one.first, one.last) == ("2025-11-10 12:00:00", "2025-11-10 12:40:00")
    days = pa.table({"day": [date(2025, 11, 10), date(2025, 11, 12)], **{f"n{n}": [1.5, float(n)] for n in range(5)}})
    assert [each.name for each in figures(days)] == [f"n{n}" for n in range(FIGURES)]


def test_a_long_line_is_thinned_to_what_can_be_seen_and_keeps_its_extremes() -> None:
    count = 50_000
    values = [float(number % 7) for number in range(count)]
    values[count // 3] = 1_000.0
    table = pa.table({"time": minutes(*range(count)), "value": values})
    (one,) = figures(table)
    assert one.shape.count(",") <= 4_100
    assert ",0 " in one.shape  # the highest is at the top


def test_without_time_a_few_labelled_numbers_are_bars_from_zero() -> None:
    table = pa.table({"weekday": ["Mon", "Tue"], "trades": [10, 5], "low": [-2.0, float("nan")]})
    trades, low = figures(table)
    assert (trades.kind, trades.low, trades.high, trades.first, trades.last) == ("bars", "0", "10", "Mon", "Tue")
    assert trades.shape == "M50,100h400V0h-400zM550,100h400V50h-400z"
    assert low.shape == "M50,0h400V100h-400z"  # what is no number has no bar


def test_pairs_can_be_labels_of_bars() -> None:
    (one,) = figures(pa.table({"pair": ["BTC/USD", "ETH/USD"], "trades": [2, 1]}))
    assert (one.kind, one.first, one.last) == ("bars", "BTC/USD", "ETH/USD")


def test_what_no_picture_can_show_has_none() -> None:
    several = {"pair": ["BTC/USD", "ETH/USD"], "time": minutes(0, 1), "price": [1.0, 2.0]}
    for table in (
        pa.table(several),
        pa.table({"time": minutes(0), "price": [1.0]}),
        pa.table({"time": minutes(1, 1), "price": [1.0, 2.0]}),
        pa.table({"time": pa.array([None, None], pa.timestamp("us", "UTC")), "price": [1.0, 2.0]}),
        pa.table({"time": minutes(0, 1), "name": ["a", "b"], "trade_id": [1, 2]}),
        pa.table({"time": minutes(0, 1), "price": pa.array([None, None], pa.float64())}),
        pa.table({"label": ["a", "a"], "count": [1, 2]}),
        pa.table({"label": [str(number) for number in range(100)], "count": range(100)}),
        pa.table({"levels": [[1], [2]], "count": [1, 2]}),
        pa.table({"levels": [[1], [2]]}),
        pa.table({"time": pa.array([2**63 - 1, 0], pa.timestamp("us", "UTC")), "price": [1.0, 2.0]}),
    ):
        assert figures(table) == [], table.column_names


def test_of_columns_with_one_name_the_first_is_drawn() -> None:
    (one,) = figures(pa.table([minutes(0, 1), minutes(1, 0), [1.0, 2.0], [5.0, 6.0]], ["time", "time", "low", "low"]))
    assert (one.name, one.shape) == ("low", "M0,100 1000,0")


def test_a_column_of_structs_does_not_hinder_the_others() -> None:
    (one,) = figures(pa.table({"time": minutes(0, 1), "pair": [{"base": "BTC"}, {"base": "ETH"}], "low": [1.0, 2.0]}))
    assert one.shape == "M0,100 1000,0"
