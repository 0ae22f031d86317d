"""queries/views: the exchange's candles, what is lost of them and what trades say instead, as any client sees them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core.model import Candle, Trade
from tests.archives import MINUTE_US, START, START_US, Ask, Written, candle, rows_read, silent, trade

COLUMNS = [
    ("pair", "VARCHAR"),
    ("timeframe", "VARCHAR"),
    ("time", "TIMESTAMP WITH TIME ZONE"),
    *((name, "DECIMAL(28,12)") for name in ("open", "high", "low", "close", "vwap")),
    ("volume", "DECIMAL(28,8)"),
    ("count", "BIGINT"),
    ("source", "VARCHAR"),
    ("seen", "TIMESTAMP WITH TIME ZONE"),
]
FILLED = (
    "SELECT time, open, high, low, close, vwap, volume, count FROM ohlc_filled "
    "WHERE source = 'trades' AND seen IS NULL AND pair = ? ORDER BY time"
)
FILLED_OF = (
    "SELECT pair, time, open, high, low, close, vwap, volume, count FROM ohlc_filled "
    "WHERE source = 'trades' AND seen IS NULL AND list_contains(?, pair) ORDER BY pair, time"
)
few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def fields(one: Candle) -> tuple[object, ...]:
    moment = minute((one.time_us - START_US) // MINUTE_US)
    return (moment, one.open, one.high, one.low, one.close, one.vwap, one.volume, one.count)


@pytest.mark.parametrize("view", ["ohlc", "ohlc_filled"])
def test_candles_of_the_exchange_have_their_columns_in_order_with_exact_types(ask: Ask, view: str) -> None:
    assert [(name, kind) for name, kind, *_ in ask(f"DESCRIBE {view}")] == COLUMNS


def test_a_candle_comes_back_to_the_last_digit(archive: Written, ask: Ask) -> None:
    numbers = ("0.000002926001", "0.5", "0.000000000001", "0.25", "0.123456789012", "383320500.12345678", 7)
    archive.published([candle(0, *numbers, pair="1INCH/USD", timeframe="1h")], seen=minute(61))
    decimals = tuple(Decimal(str(number)) for number in numbers[:-1])
    assert ask("FROM ohlc") == [("1INCH/USD", "1h", minute(0), *decimals, 7, "rest", minute(61))]


def test_the_view_shows_the_latest_candle_and_the_macro_every_version(archive: Written, ask: Ask) -> None:
    last = ("1", "9", "1", "5", "4", "12", 4)
    archive.published([candle(0, "1", "2", "1", "2", "1.5", "10", 3)], seen=minute(1))
    archive.published([candle(0, *last)], seen=minute(9))
    archive.published([candle(0, "1", "2", "1", "2", "1.5", "11", 3)], seen=minute(5))
    assert ask("SELECT * EXCLUDE (pair, timeframe) FROM ohlc") == [
        (minute(0), *(Decimal(n) for n in last[:-1]), 4, "rest", minute(9))
    ]
    assert ask("SELECT volume::INT, seen FROM stored_ohlc() ORDER BY seen") == [
        (10, minute(1)),
        (11, minute(5)),
        (12, minute(9)),
    ]


def test_what_is_lost_between_candles_is_one_row_a_stretch(archive: Written, ask: Ask) -> None:
    archive.published([candle(number) for number in (0, 1, 2, 5, 6, 10)])
    archive.published([candle(5)], seen=minute(20))
    archive.published([candle(60 * number, timeframe="1h") for number in (0, 1, 3)])
    archive.published([candle(number, pair="ETH/USD") for number in (7, 8)])
    assert ask("FROM ohlc_gaps ORDER BY timeframe, first_time") == [
        ("BTC/USD", "1h", minute(120), minute(120), 1),
        ("BTC/USD", "1m", minute(3), minute(4), 2),
        ("BTC/USD", "1m", minute(7), minute(9), 3),
    ]


def test_a_stretch_over_new_year_is_found_in_two_folders(archive: Written, ask: Ask) -> None:
    new_year = 51 * 24 * 60 + 12 * 60
    archive.published([candle(new_year - 2), candle(new_year + 1)])
    assert ask("SELECT first_time, last_time, missing FROM ohlc_gaps") == [
        (minute(new_year - 1), minute(new_year), 2),
    ]
    assert minute(new_year).year == 2026


def test_lost_candles_are_built_from_trades_where_nothing_can_be_missing(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.published([silent(0, "90"), candle(9), candle(10)])
    archive.append(
        [
            trade(5, START_US - 1, "90"),
            trade(6, START_US + 2 * MINUTE_US, "100.1", "0.1"),
            trade(7, START_US + 2 * MINUTE_US + 5, "100.3", "0.2"),
            trade(8, START_US + 5 * MINUTE_US, "99.9", "1"),  # 9 is missing, and may lie in any minute from 5 to 7
            trade(10, START_US + 7 * MINUTE_US + 1, "101", "1"),
            trade(11, START_US + 9 * MINUTE_US, "102", "1"),
        ]
    )
    built = candle(2, "100.1", "100.3", "100.1", "100.3", "100.2", "0.3", 2)
    assert ask(FILLED, "BTC/USD") == [
        fields(one) for one in (silent(1, "90"), built, silent(3, "100.3"), silent(4, "100.3"), silent(8, "101"))
    ]
    assert ask("SELECT count(*) FROM ohlc_filled WHERE source = 'rest'") == [(3,)]


def test_a_run_that_begins_with_the_interval_proves_nothing_of_it(archive: Written, ask: Ask) -> None:
    archive.published([candle(0), candle(3)])
    # Trade 4 may have been made in the same microsecond as 5.
    archive.append(
        [trade(5, START_US + MINUTE_US), trade(6, START_US + 2 * MINUTE_US), trade(7, START_US + 4 * MINUTE_US)]
    )
    assert ask("SELECT time FROM ohlc_filled WHERE source = 'trades'") == [(minute(2),)]


def test_the_vwap_of_a_built_candle_has_the_decimals_listed_at_its_time(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 3, minute(0))
    archive.listed("BTC/USD", 1, minute(2))
    archive.listed("BTC/USD", 1, minute(3), status="delisted")
    archive.published([candle(0), candle(5)])
    archive.append([trade(number + 1, START_US + number * MINUTE_US, "1.23456") for number in range(6)])
    assert ask("SELECT vwap FROM ohlc_filled WHERE source = 'trades' ORDER BY time") == [
        (Decimal(vwap),) for vwap in ("1.234", "1.2", "1.2", "1.2")
    ]


def test_of_a_pair_never_listed_a_built_vwap_has_all_digits(archive: Written, ask: Ask) -> None:
    archive.published([candle(0), candle(3)])
    rows = [("10", "1"), ("10", "1"), ("11", "2"), ("10.25", "1"), ("9", "1")]
    times = (0, 1, 1.5, 2, 3)
    made = [
        trade(index, START_US + round(time * MINUTE_US), price, qty)
        for index, (time, (price, qty)) in enumerate(zip(times, rows, strict=True), start=1)
    ]
    archive.append(made)
    assert ask("SELECT vwap FROM ohlc_filled WHERE source = 'trades' ORDER BY time") == [
        (Decimal("10.666666666666"),),
        (Decimal("10.25"),),
    ]


def test_each_timeframe_is_filled_by_itself(archive: Written, ask: Ask) -> None:
    archive.published([candle(number) for number in (0, 2)])
    archive.published([candle(5 * number, timeframe="5m") for number in (0, 2)])
    archive.append([trade(number + 1, START_US + number * MINUTE_US) for number in range(12)])
    assert ask("SELECT timeframe, time, count FROM ohlc_filled WHERE source = 'trades' ORDER BY timeframe") == [
        ("1m", minute(1), 1),
        ("5m", minute(5), 5),
    ]


def test_only_the_trades_of_the_stretches_lost_are_read(archive: Written, ask: Ask) -> None:
    for hour in range(4):
        start_us, first = START_US + 60 * hour * MINUTE_US, 1_000 * hour + 1
        archive.append([trade(first + number, start_us + number * 3_600_000) for number in range(1_000)])
        archive.append([trade(first + number, start_us + number, pair="ETH/USD") for number in range(1_000)])
    folder = archive.data / "trades"
    series = ("pair_ohlc_filled('BTC/USD', '1m')", "ohlc_filled WHERE pair = 'BTC/USD' AND timeframe = '1m'")
    archive.published([candle(number) for number in range(240)])
    ask("SET threads = 1")
    for one in series:  # it looks at one batch before it learns that there is nothing to find
        assert rows_read(ask, f"SELECT sum(close) FROM {one}", folder) <= 1_000
    archive.published([candle(number) for number in (*range(240, 245), *range(247, 250))])
    for one in series:  # there are none so late
        assert rows_read(ask, f"SELECT sum(close) FROM {one}", folder) == 0
    for path in (archive.data / "ohlc" / "timeframe=1m").rglob("*.parquet"):
        path.unlink()
    archive.published([candle(number) for number in range(240) if number not in {70, 80}])
    for one in series:
        assert 0 < rows_read(ask, f"SELECT sum(close) FROM {one}", folder) <= 1_000
        assert ask(f"SELECT count(*) FROM {one}") == [(240,)]
    later = "pair_ohlc_filled('BTC/USD', '1m', '2025-11-10 15:00:00Z')"
    assert rows_read(ask, f"SELECT sum(close) FROM {later}", folder) <= 1_000


BOTH = [(0, 3), (0, 6), (1, 2), (1, 5), (2, 4), (3, 3), (3, 6), (4, 5), (5, 6), (5, 2)]


def test_of_one_series_the_rows_are_those_of_the_view_in_any_range(archive: Written, ask: Ask) -> None:
    archive.append([trade(number + 1, START_US + number * MINUTE_US) for number in range(7)])
    archive.published([candle(0), candle(3), candle(0, pair="ETH/USD"), candle(2, timeframe="5m")])
    archive.published([candle(3, "9", "9", "9", "9", "9", "1", 1), candle(6)], seen=minute(9))
    whole = ask("FROM ohlc_filled WHERE pair = 'BTC/USD' AND timeframe = '1m' ORDER BY time")
    assert [row[2] for row in whole] == [minute(number) for number in range(7)]
    ends = (None, *map(minute, range(7)))
    # One end in every place, and both inside, at and around what is published.
    both = [(low, high) for low, high in product(ends, ends) if low is None or high is None]
    for low, high in [*both, *((minute(low), minute(high)) for low, high in BOTH)]:
        found = ask("FROM pair_ohlc_filled('BTC/USD', '1m', ?, ?) ORDER BY time", low, high)
        assert found == [row for row in whole if (not low or row[2] >= low) and (not high or row[2] < high)]  # type: ignore[operator]


@pytest.mark.parametrize("view", ["ohlc", "ohlc_filled"])
def test_only_the_files_of_the_timeframe_asked_for_are_read(archive: Written, ask: Ask, view: str) -> None:
    archive.published([candle(0), candle(0, timeframe="5m")])
    ask("SELECT 1")
    # DuckDB opens the first file for its columns, whatever is asked; this one comes after it.
    for path in (archive.data / "ohlc" / "timeframe=5m").rglob("*.parquet"):
        path.write_bytes(b"not Parquet")
    query = f"SELECT count(*) FROM {view} WHERE timeframe = '1m' AND pair = 'BTC/USD'"
    assert ask(query) == [(1,)]


AT_ONCE = 8
"""Pairs of one question, which takes far longer to plan than to answer."""


def pairs_of(series: Sequence[object]) -> list[str]:
    """Return a pair that no other example has for each of these, in order."""
    return sorted(f"{uuid.uuid4()}/USD" for _ in series)


VERSIONS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 50)), min_size=1, max_size=20, unique_by=lambda version: version
)


@few
@given(st.lists(VERSIONS, min_size=AT_ONCE, max_size=AT_ONCE))
def test_the_view_is_the_last_seen_of_each_candle_and_gaps_are_what_lies_between(
    archive: Written, ask: Ask, series: list[list[tuple[int, int]]]
) -> None:
    pairs = pairs_of(series)
    held, missing = [], []
    for pair, versions in zip(pairs, series, strict=True):
        last: dict[int, tuple[int, int]] = {}
        for index, (number, seen) in enumerate(versions):
            volume = str(index + 1)
            archive.published([candle(number, "1", "1", "1", "1", "1", volume, 1, pair=pair)], seen=minute(seen))
            last[number] = max(last.get(number, (0, 0)), (seen, index + 1))
        held += [(pair, minute(number), minute(seen), volume) for number, (seen, volume) in sorted(last.items())]
        missing += [
            (pair, minute(before + 1), minute(after - 1), after - before - 1)
            for before, after in pairwise(sorted(last))
            if after - before > 1
        ]
    archive.merge("ohlc")  # or each example reads the files of all before it
    rows = "SELECT pair, time, seen, volume::INT FROM ohlc WHERE list_contains(?, pair) ORDER BY pair, time"
    assert ask(rows, pairs) == held
    gaps = "SELECT pair, first_time, last_time, missing FROM ohlc_gaps WHERE list_contains(?, pair) ORDER BY 1, 2"
    assert ask(gaps, pairs) == missing


MINUTES = 12


@dataclass(frozen=True)
class World:
    """What happened, and which of it is held: trades by id from 1, candles by minute."""

    trades: list[Trade]
    held_ids: set[int]
    held_candles: set[int]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    pair = f"{uuid.uuid4()}/USD"
    count = draw(st.integers(1, 14))
    # The boundaries of minutes are where mistakes would hide.
    offsets = draw(
        st.lists(
            st.integers(0, MINUTES - 1).flatmap(
                lambda n: st.sampled_from([n * MINUTE_US, n * MINUTE_US + 1, (n + 1) * MINUTE_US - 1])
            ),
            min_size=count,
            max_size=count,
        )
    )
    prices = draw(st.lists(st.integers(1, 999), min_size=count, max_size=count))
    made = [
        trade(index, START_US + offset, f"{price / 10:.1f}", str(price % 7 + 1), pair=pair)
        for index, (offset, price) in enumerate(zip(sorted(offsets), prices, strict=True), start=1)
    ]
    ids = draw(st.sets(st.integers(1, count), min_size=1))
    first = (made[0].time_us - START_US) // MINUTE_US
    return World(made, ids, draw(st.sets(st.integers(first, MINUTES - 1), min_size=1)))


def truth(world: World) -> dict[int, Candle]:
    """Return the candle of every minute from the first trade on, as the exchange would publish it."""
    pair, close, made = world.trades[0].pair, "0", {}
    for number in range((world.trades[0].time_us - START_US) // MINUTE_US, MINUTES):
        inside = [row for row in world.trades if (row.time_us - START_US) // MINUTE_US == number]
        if inside:
            prices = [row.price for row in inside]
            volume = sum(row.qty for row in inside)
            amount = sum(row.price * row.qty for row in inside)
            vwap = Decimal(int(amount * 10) // int(volume)) / 10
            numbers = (prices[0], max(prices), min(prices), prices[-1], vwap, volume)
            made[number] = candle(number, *(str(value) for value in numbers), len(inside), pair=pair)
            close = str(prices[-1])
        else:
            made[number] = silent(number, close, pair=pair)
    return made


def provable(world: World, number: int) -> bool:
    """Tell whether no trade of the minute can be missing: a run of ids held goes on from before it beyond its end."""
    start, end = START_US + number * MINUTE_US, START_US + (number + 1) * MINUTE_US
    times = {row.trade_id: row.time_us for row in world.trades}
    for first in world.held_ids:
        if first - 1 in world.held_ids:
            continue
        last = first
        while last + 1 in world.held_ids:
            last += 1
        if (first == 1 or times[first] < start) and times[last] >= end:
            return True
    return False


@few
@given(st.lists(worlds(), min_size=AT_ONCE, max_size=AT_ONCE))
def test_what_is_filled_is_what_the_exchange_would_have_said_and_only_what_is_provable(
    archive: Written, ask: Ask, series: list[World]
) -> None:
    expected = []
    for world in sorted(series, key=lambda one: one.trades[0].pair):
        pair, candles = world.trades[0].pair, truth(world)
        archive.listed(pair, 1)
        archive.append([row for row in world.trades if row.trade_id in world.held_ids])
        archive.published([candles[number] for number in world.held_candles])
        lost = set(range(min(world.held_candles), max(world.held_candles))) - world.held_candles
        expected += [(pair, *fields(candles[number])) for number in sorted(lost) if provable(world, number)]
    for table in ("instruments", "ohlc"):
        archive.merge(table)  # or each example reads the files of all before it
    assert ask(FILLED_OF, [world.trades[0].pair for world in series]) == expected
