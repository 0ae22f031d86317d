"""queries/macros: candles and what they are made of, as any DuckDB client sees them."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core.model import TIMEFRAMES, Candle, Trade
from recorder.kraken import ohlc_answers, trade_pages
from recorder.query import catalogue
from recorder.query.connect import connect
from tests.archives import MINUTE_US, START, START_US, Ask, Written, candle, silent, trade, trades

REAL = Path(__file__).parents[3] / "shared" / "data" / "real" / "rest"


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def at_us(number: float) -> int:
    return START_US + round(number * MINUTE_US)


def test_a_candle_is_what_a_person_computes_by_hand(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.append(
        [
            trade(1, at_us(-0.5), "90"),
            # Ids are the order: the first has a later time than the second, as REST's printed doubles can.
            trade(2, at_us(0.2), "100.1", "0.1"),
            trade(3, at_us(0.1), "100.3", "0.2"),
            trade(4, at_us(0.9), "100.2", "0.00000001"),
            trade(5, at_us(1.0), "200", "1"),
            trade(6, at_us(3.0), "300", "1"),
        ]
    )
    # vwap: (10.01 + 20.06 + 0.000001002) / 0.30000001 = 100.23333332…, cut to one digit
    row = (Decimal("100.1"), Decimal("100.3"), Decimal("100.1"), Decimal("100.2"), Decimal("100.2"))
    assert ask("FROM candles('BTC/USD', '1m', ?, ?)", minute(0), minute(1)) == [
        ("BTC/USD", "1m", minute(0), *row, Decimal("0.30000001"), 3, True)
    ]


def test_a_candle_has_its_columns_in_order_with_exact_types(ask: Ask) -> None:
    columns = [(name, kind) for name, kind, *_ in ask("DESCRIBE FROM candles('BTC/USD', '1m')")]
    price = "DECIMAL(28,12)"
    assert columns == [
        ("pair", "VARCHAR"),
        ("timeframe", "VARCHAR"),
        ("time", "TIMESTAMP WITH TIME ZONE"),
        *((name, price) for name in ("open", "high", "low", "close", "vwap")),
        ("volume", "DECIMAL(38,8)"),
        ("count", "BIGINT"),
        ("complete", "BOOLEAN"),
    ]


def real_trades() -> list[Trade]:
    """Return the real page's trades; its numbers as they were printed: only `time` is bare, and our parser reads it."""
    if not REAL.exists():
        pytest.skip("../shared/data/real is not here")
    page = (REAL / "trades_XBTUSDT_2025-11-10.json").read_text()
    result = page[page.index('"result":') + len('"result":') : page.rindex("}")]
    return list(trade_pages.parse_page(result.encode(), "BTC/USDT").trades)


def real_candles() -> bytes:
    return (REAL / "ohlc1_XBTUSDT_2025-11-10.json").read_bytes()


def test_real_trades_make_the_candles_that_kraken_published(archive: Written, ask: Ask) -> None:
    archive.append(real_trades())
    archive.listed("BTC/USDT", 1)
    built = ask("SELECT time, open, high, low, close, vwap, volume, count, complete FROM candles('BTC/USDT', '1m')")
    published = json.loads(real_candles())["result"]["XBTUSDT"]
    expected = [
        (datetime.fromtimestamp(time, UTC), *(Decimal(number) for number in numbers), count)
        for time, *numbers, count in published
        if count
    ]
    first, *whole = built  # the page begins in the middle of its first minute
    assert [candle[:-1] for candle in whole] == [candle for candle in expected if candle[0] > first[0]]
    assert len(whole) == 273
    # What comes after the page cannot be known, so its last bar is not proven complete.
    assert [complete for *_, complete in built] == [False, *[True] * 272, False]


def test_vwap_is_cut_and_not_rounded(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.append([trade(1, price="0.19999", qty="3")])
    assert ask("SELECT vwap FROM candles('BTC/USD', '1m')") == [(Decimal("0.1"),)]


def test_vwap_has_the_decimals_that_were_listed_at_the_time_of_the_bar(archive: Written, ask: Ask) -> None:
    archive.listed("ETH/USD", 7, minute(-9))
    archive.listed("BTC/USD", 3, minute(0))
    archive.listed("BTC/USD", 0, minute(2))
    archive.append([trade(1 + n, at_us(n), "1.23456") for n in (-1, 0, 1, 2, 3)])
    assert ask("SELECT vwap FROM candles('BTC/USD', '1m')") == [
        (Decimal(vwap),) for vwap in ("1.234", "1.234", "1.234", "1", "1")
    ]


def test_a_delisting_and_a_listing_anew_do_no_harm_to_vwap(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 3, minute(0))
    archive.listed("BTC/USD", 3, minute(1), status="delisted")
    archive.listed("BTC/USD", 1, minute(3))
    archive.listed("BTC/USD", 1, minute(5), status="delisted")
    archive.append([trade(1 + n, at_us(n), "1.23456") for n in range(7)])
    assert ask("SELECT vwap FROM candles('BTC/USD', '1m')") == [
        (Decimal(vwap),) for vwap in ("1.234", "1.234", "1.234", "1.2", "1.2", "1.2", "1.2")
    ]


def test_of_a_pair_never_listed_vwap_has_all_digits_in_any_range(archive: Written, ask: Ask) -> None:
    archive.listed("ETH/USD", 0)
    archive.append([trade(1, at_us(0), "10"), trade(2, at_us(0), "11", "2"), trade(3, at_us(1), "10.25")])
    expected = [(Decimal("10.666666666666"),), (Decimal("10.25"),)]
    assert ask("SELECT vwap FROM candles('BTC/USD', '1m')") == expected
    assert ask("SELECT vwap FROM candles('BTC/USD', '1m', stop := ?)", minute(1)) == expected[:1]


def test_a_bar_is_complete_only_inside_one_run_of_ids_with_a_trade_on_either_side(archive: Written, ask: Ask) -> None:
    archive.append(
        [
            trade(5, at_us(0.5)),  # what came before it in its minute is not known
            trade(6, at_us(1.5)),
            trade(7, at_us(2)),  # a trade exactly at the end of minute 1
            trade(9, at_us(3.5)),  # 8 is missing: it was in minute 2 or 3
            trade(10, at_us(4.5)),
            trade(11, at_us(5.5)),  # what comes after it in its minute is not known
        ]
    )
    assert ask("SELECT time, complete FROM candles('BTC/USD', '1m')") == [
        (minute(number), number in {1, 4}) for number in range(6)
    ]


def test_the_bar_of_the_first_trade_ever_is_complete(archive: Written, ask: Ask) -> None:
    archive.append(trades(1, 100))
    assert ask("SELECT complete FROM candles('BTC/USD', '1m')") == [(True,), (False,)]


def test_a_range_chooses_whole_bars_by_their_start(archive: Written, ask: Ask) -> None:
    archive.append([trade(n, at_us(n / 4)) for n in range(1, 20)])

    def times(*limits: object) -> list[tuple[object, ...]]:
        return ask("SELECT time, count FROM candles('BTC/USD', '1m', ?, ?)", *limits)

    assert times(minute(1), minute(3)) == [(minute(1), 4), (minute(2), 4)]
    assert times(minute(1) - timedelta(microseconds=1), minute(2) + timedelta(microseconds=1)) == [
        (minute(1), 4),
        (minute(2), 4),
    ]
    assert times(minute(1) + timedelta(microseconds=1), None) == [(minute(2), 4), (minute(3), 4), (minute(4), 4)]
    assert times(None, minute(1)) == [(minute(0), 3)]
    assert times(minute(2), minute(2)) == []


AUDIT = "SELECT time, verdict, differing, complete, close, ohlc_close, count, ohlc_count FROM candle_audit"


def test_an_audit_puts_both_sides_beside_each_other_and_says_how_they_compare(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.append(
        [
            trade(1, at_us(0), "10"),
            trade(2, at_us(2), "12"),
            trade(3, at_us(3), "13"),
            trade(4, at_us(6), "16"),  # 5 is missing: it was in minute 6 or 7
            trade(6, at_us(7.5), "17"),
            trade(7, at_us(9), "19"),
        ]
    )

    def one(number: int, price: str) -> Candle:
        return candle(number, price, price, price, price, price, "1", 1)

    archive.published(
        [
            one(0, "10"),
            silent(1, "10"),
            candle(2, "12", "12", "12", "12", "12.1", "1.5", 1),
            # nothing of minute 3
            silent(4, "13.1"),  # in truth 13
            one(5, "14"),  # there is no such trade
            candle(6, "16", "16", "16", "16", "16", "2", 2),
            one(7, "17"),  # touched by the hole, and yet the same
            silent(8, "17"),
            one(9, "19"),
            one(10, "20"),
            silent(11, "20"),
        ]
    )

    def price(text: str | None) -> Decimal | None:
        return None if text is None else Decimal(text)

    expected = [
        (0, "equal", [], True, "10", "10", 1, 1),
        (1, "silent", [], True, "10", "10", 0, 0),
        (2, "differs", ["vwap", "volume"], True, "12", "12", 1, 1),
        (3, "missing ohlc", [], True, "13", None, 1, None),
        (4, "differs", ["open", "high", "low", "close"], True, "13", "13.1", 0, 0),
        (5, "missing trades", ["open", "high", "low", "close", "vwap", "volume", "count"], True, "13", "14", 0, 1),
        (6, "incomplete", ["volume", "count"], False, "16", "16", 1, 2),
        (7, "equal", [], False, "17", "17", 1, 1),
        (8, "silent", [], True, "17", "17", 0, 0),
        (9, "equal", [], False, "19", "19", 1, 1),
        (10, "missing trades", [], False, None, "20", None, 1),
        (11, "silent", [], False, None, "20", None, 0),
    ]
    rows = [
        (minute(number), verdict, differing, complete, price(close), price(ohlc_close), count, ohlc_count)
        for number, verdict, differing, complete, close, ohlc_close, count, ohlc_count in expected
    ]
    assert ask(f"{AUDIT}('BTC/USD', '1m')") == rows
    assert ask(f"{AUDIT}('BTC/USD', '1m', ?, ?)", minute(2), minute(4)) == rows[2:4]
    assert ask(f"{AUDIT}('BTC/USD', '5m')") == [
        (minute(0), "missing ohlc", [], True, Decimal(13), None, 3, None),
        (minute(5), "missing ohlc", [], False, Decimal(19), None, 3, None),
    ]
    assert ask(f"{AUDIT}('ETH/USD', '1m')") == []


def test_the_audit_of_real_trades_finds_all_that_kraken_published_right(archive: Written, ask: Ask) -> None:
    archive.append(real_trades())
    archive.listed("BTC/USDT", 1)
    body = real_candles().decode()
    result = body[body.index('"result":') + len('"result":') : body.rindex("}")]
    archive.published(ohlc_answers.parse_answer(result.encode(), "BTC/USDT", "1m").rows)
    ((first, last),) = ask("SELECT min(time), max(time) FROM trades")
    inside = f"FROM candle_audit('BTC/USDT', '1m', bar_ceiling('{first}', '1m'), '{last}') GROUP BY verdict ORDER BY 1"
    assert ask(f"SELECT verdict, count(*) {inside}") == [("equal", 273), ("silent", 137)]
    # Before the page only the exchange knows, and the page begins in the middle of a minute.
    outside = f"FROM candle_audit('BTC/USDT', '1m', NULL, bar_ceiling('{first}', '1m')) GROUP BY verdict ORDER BY 1"
    assert ask(f"SELECT verdict {outside}") == [("incomplete",), ("missing trades",), ("silent",)]


def test_the_audit_is_also_a_query_with_named_parameters(archive: Written, ask: Ask) -> None:
    archive.append([trade(n, at_us(n)) for n in range(1, 4)])
    archive.published([candle(n) for n in (1, 2, 3)])
    ask("SELECT 1")
    with connect(archive.data) as opened:
        found = opened.sql(
            catalogue.question("candle_audit").text, pair="BTC/USD", timeframe="1m", start=minute(2), stop=None
        )
    assert found["verdict"].tolist() == ["equal", "equal"]
    assert found["time"].tolist() == [minute(2), minute(3)]


def test_pair_trades_takes_start_inclusive_and_stop_exclusive(archive: Written, ask: Ask) -> None:
    archive.append(trades(1, 9))
    start, stop = START + timedelta(seconds=3), START + timedelta(seconds=5)
    assert ask("SELECT trade_id FROM pair_trades('BTC/USD', ?, ?) ORDER BY 1", start, stop) == [(3,), (4,)]
    assert ask("SELECT count(*) FROM pair_trades('BTC/USD', start := ?)", start) == [(7,)]
    assert ask("SELECT count(*) FROM pair_trades('BTC/USD', stop := '2025-11-10 12:00:03Z')") == [(2,)]


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_bars_of_every_timeframe_are_counted_from_1970_in_utc(archive: Written, ask: Ask, timeframe: str) -> None:
    archive.append([trade(1)])
    width_us = TIMEFRAMES[timeframe] * MINUTE_US
    ((time_us,),) = ask("SELECT epoch_us(time) FROM candles('BTC/USD', ?)", timeframe)
    assert isinstance(time_us, int)
    assert time_us % width_us == 0
    assert time_us <= START_US + 1_000_000 < time_us + width_us


def test_weeks_begin_on_thursdays(archive: Written, ask: Ask) -> None:
    archive.append([trade(1)])
    assert ask("SELECT dayname(time) FROM candles('BTC/USD', '1w')") == [("Thursday",)]


def test_the_helpers_of_timeframes_agree_with_each_other(ask: Ask) -> None:
    assert ask("SELECT timeframe_us('4h'), bar_start('2025-11-10 15:59:59Z', '4h')") == [(240 * MINUTE_US, START)]
    assert ask("SELECT bar_ceiling('2025-11-10 12:00:00Z', '4h'), bar_ceiling(NULL, '4h')") == [(START, None)]
    assert ask("SELECT bar_ceiling('2025-11-10 08:00:00.000001Z', '4h')") == [(START,)]


@pytest.mark.parametrize("timeframe", ["2m", "1M", "", None])
def test_a_timeframe_that_does_not_exist_is_an_error_that_names_those_that_do(
    archive: Written, ask: Ask, timeframe: str | None
) -> None:
    archive.append([trade(1)])
    with pytest.raises(duckdb.InvalidInputException, match="use one of 1m 5m 15m 30m 1h 4h 12h 1d 1w 15d"):
        ask("FROM candles('BTC/USD', ?)", timeframe)


@pytest.mark.parametrize("pair", ["ETH/USD", "BTC/US", "BTC/USDT", "B", "", "A-B.C~D_E/[*]?", "X" * 40])
def test_a_pair_without_trades_has_no_rows(archive: Written, ask: Ask, pair: str) -> None:
    archive.append(trades(1, 3))
    assert ask("FROM pair_trades(?)", pair) == []
    assert ask("FROM pair_coverage(?)", pair) == []
    assert ask("FROM candles(?, '1m')", pair) == []


def test_a_pair_is_not_mixed_up_with_one_whose_name_begins_with_its_own(archive: Written, ask: Ask) -> None:
    archive.append([*trades(1, 3), *trades(1, 5, pair="BTC/USDT"), *trades(7, 7, pair="BTC/USDC")])
    assert ask("SELECT count(*) FROM pair_trades('BTC/USD')") == [(3,)]
    assert ask("SELECT first_id, last_id FROM pair_coverage('BTC/USD')") == [(1, 3)]
    assert ask("SELECT count FROM candles('BTC/USD', '1h')") == [(3,)]


def test_only_the_files_of_the_pair_are_opened(archive: Written, ask: Ask) -> None:
    archive.append([*trades(1, 3), *trades(1, 3, pair="ETH/USD")])
    ask("SELECT 1")  # creating the views opens one file
    for path in archive.files("ETH/USD"):
        path.write_bytes(b"not Parquet")
    assert ask("SELECT count(*) FROM pair_trades('BTC/USD')") == [(3,)]
    assert ask("SELECT count FROM candles('BTC/USD', '1h')") == [(3,)]
    with pytest.raises(duckdb.Error, match="ETH%2FUSD"):
        ask("SELECT sum(qty) FROM trades")


PRICES = st.decimals("0.000000000001", "99999999", places=12, allow_nan=False)
TOO_LARGE = Decimal(10) ** 12
"""What no trade is worth: the amount of a bar with one that is worth as much is unknown."""
QUANTITIES = st.decimals("0.00000001", "999999999", places=8, allow_nan=False)
ROW = st.tuples(PRICES, QUANTITIES, st.integers(0, 4 * MINUTE_US))
ROWS = st.lists(ROW, min_size=1, max_size=5) | st.lists(ROW, min_size=20, max_size=40)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, decimals=st.integers(0, 12))
def test_candles_equal_integer_arithmetic_for_any_trades(
    archive: Written, ask: Ask, rows: list[tuple[Decimal, Decimal, int]], decimals: int
) -> None:
    pair = f"{uuid.uuid4()}/USD"
    archive.listed(pair, decimals)
    made = [
        trade(index, START_US + offset_us, f"{price:f}", f"{qty:f}", pair=pair)
        for index, (price, qty, offset_us) in enumerate(rows, start=1)
    ]
    archive.append(made)
    bars: dict[int, list[Trade]] = defaultdict(list)
    for row in made:
        bars[row.time_us // MINUTE_US].append(row)
    expected = []
    for _, bar in sorted(bars.items()):
        amount = sum(int(row.price.scaleb(12)) * int(row.qty.scaleb(8)) for row in bar)
        volume = sum(int(row.qty.scaleb(8)) for row in bar)
        cut = Decimal(amount // (volume * 10 ** (12 - decimals))).scaleb(-decimals)
        vwap = cut if all(row.price * row.qty < TOO_LARGE for row in bar) else None
        prices = [row.price for row in bar]
        expected.append((prices[0], max(prices), min(prices), prices[-1], vwap, volume, len(bar)))
    assert expected == [
        (*prices, int(volume.scaleb(8)), count)  # type: ignore[attr-defined]
        for *prices, volume, count in ask(
            "SELECT open, high, low, close, vwap, volume, count FROM candles(?, '1m')", pair
        )
    ]
