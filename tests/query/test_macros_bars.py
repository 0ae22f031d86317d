"""queries/macros: bars by time, trades, volume and money, as any DuckDB client sees them."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core import evidence
from recorder.core.evidence import Anchored, Promised
from recorder.core.model import TIMEFRAMES, Event, Trade
from recorder.query.connect import connect
from tests.archives import MINUTE_US, START, START_US, Ask, Written, at_us, minute, sold, trade, trades
from tests.recorded_data import downloaded

DAY_US = 24 * 60 * MINUTE_US

EXACT = "first_id, last_id, open, high, low, close, vwap, volume, amount, count, buy_volume"


def summary(rows: Sequence[Trade], digits: int) -> tuple[object, ...]:
    """Return the columns EXACT of one bar, in integers and decimals, without SQL."""
    amount = sum(int(row.price.scaleb(12)) * int(row.qty.scaleb(8)) for row in rows)
    volume = sum(int(row.qty.scaleb(8)) for row in rows)
    bought = sum(int(row.qty.scaleb(8)) for row in rows if row.side == "buy")
    prices = [row.price for row in rows]
    return (
        rows[0].trade_id,
        rows[-1].trade_id,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        Decimal(amount // (volume * 10 ** (12 - digits))).scaleb(-digits),
        Decimal(volume).scaleb(-8),
        Decimal(amount).scaleb(-20),
        len(rows),
        Decimal(bought).scaleb(-8),
    )


def holed(archive: Written) -> list[Trade]:
    """Archive ids 1 to 6, 9 to 11 and 30 to 32, one each 20 seconds of its id, each of 0.5 at 100 and its id."""
    archive.listed("BTC/USD", 1)
    ids = [*range(1, 7), 9, 10, 11, 30, 31, 32]
    made = [trade(number, START_US + number * 20_000_000, str(100 + number), "0.5") for number in ids]
    archive.append(made)
    return made


def test_a_time_bar_is_what_a_person_computes_by_hand(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.append(
        [
            trade(1, at_us(0), "90"),
            # Ids are the order: the first has a later time than the second, as REST's printed doubles can.
            sold(trade(2, at_us(10.2), "100.1", "0.1")),
            trade(3, at_us(10.1), "100.3", "0.2"),
            trade(4, at_us(16.9), "100.2", "0.00000001"),
            trade(5, at_us(17), "200", "1"),
        ]
    )
    # vwap: (10.01 + 20.06 + 0.000001002) / 0.30000001 = 100.23333332…, cut to one digit
    numbers = [Decimal(text) for text in ("100.1", "100.3", "100.1", "100.2", "100.2", "0.30000001", "30.070001002")]
    bars = "FROM time_bars('BTC/USD', '7 minutes', ?, ?, ?)"
    assert ask(bars, minute(10), minute(17), minute(-4)) == [
        ("BTC/USD", minute(10), minute(17), 2, 4, *numbers, 3, Decimal("0.20000001"), True, 0)
    ]


def test_bars_have_their_columns_in_order_with_exact_types(ask: Ask) -> None:
    expected = [
        ("pair", "VARCHAR"),
        ("time", "TIMESTAMP WITH TIME ZONE"),
        ("time_end", "TIMESTAMP WITH TIME ZONE"),
        ("first_id", "BIGINT"),
        ("last_id", "BIGINT"),
        *((name, "DECIMAL(28,12)") for name in ("open", "high", "low", "close", "vwap")),
        ("volume", "DECIMAL(38,8)"),
        ("amount", "DECIMAL(38,20)"),
        ("count", "BIGINT"),
        ("buy_volume", "DECIMAL(38,8)"),
        ("complete", "BOOLEAN"),
        ("missing_trades", "BIGINT"),
    ]
    for bars in ("time_bars('A/B', '1 hour')", "tick_bars('A/B', 5)", "volume_bars('A/B', 5)", "dollar_bars('A/B', 5)"):
        assert [(name, kind) for name, kind, *_ in ask(f"DESCRIBE FROM {bars}")] == expected
        assert ask(f"FROM {bars}") == []


def test_time_bars_tell_how_many_ids_may_be_missing_in_each(archive: Written, ask: Ask) -> None:
    holed(archive)
    assert ask("SELECT time, first_id, last_id, complete, missing_trades FROM time_bars('BTC/USD', '1 minute')") == [
        (minute(0), 1, 2, True, 0),
        (minute(1), 3, 5, True, 0),
        (minute(2), 6, 6, False, 2),  # 7 and 8 came after 6
        (minute(3), 9, 11, False, 20),  # or at the very time of 9; 12 to 29 came after 11
        (minute(10), 30, 32, False, 18),  # or at the very time of 30
    ]
    whole = "SELECT missing_trades FROM time_bars('BTC/USD', '1 hour')"
    assert ask(whole) == [(20,)]
    archive.append(trades(7, 8))
    assert ask(whole) == [(18,)]


def test_bars_without_trades_are_filled_on_request_and_null_if_unknown(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, at_us(0.5), "10"), trade(2, at_us(3.5), "13"), trade(4, at_us(6.5), "16")])
    columns = (
        "time, first_id, open, high, low, close, vwap, volume, amount, count, buy_volume, complete, missing_trades"
    )

    def one(number: int, first_id: int, price: int, missing: int, *, complete: bool = False) -> tuple[object, ...]:
        prices = [Decimal(price)] * 5
        return (minute(number), first_id, *prices, Decimal(1), Decimal(price), 1, Decimal(1), complete, missing)

    silent = [(minute(n), None, *[Decimal(10)] * 4, 0, 0, 0, 0, 0, True, 0) for n in (1, 2)]
    unknown = [(minute(n), None, *[None] * 9, False, 1) for n in (4, 5)]
    traded = [one(0, 1, 10, 0, complete=True), one(3, 2, 13, 1), one(6, 4, 16, 1)]
    assert ask(f"SELECT {columns} FROM time_bars('BTC/USD', '1 minute')") == traded
    filled = ask(f"SELECT {columns} FROM time_bars('BTC/USD', '1 minute', filled := true)")
    assert filled == sorted([*traded, *silent, *unknown], key=lambda row: str(row[0]))


def test_time_bars_are_those_of_candles_where_the_widths_are(archive: Written, ask: Ask) -> None:
    archive.append(downloaded())
    archive.listed("BTC/USDT", 1)
    columns = "time, open, high, low, close, vwap, volume, count, complete"
    for timeframe, minutes in TIMEFRAMES.items():
        candles = ask(f"SELECT {columns} FROM candles('BTC/USDT', ?)", timeframe)
        assert candles == ask(f"SELECT {columns} FROM time_bars('BTC/USDT', ?::INTERVAL)", f"{minutes} minutes")
        assert candles


def test_time_bars_of_any_width_and_origin_equal_integer_arithmetic_on_real_trades(archive: Written, ask: Ask) -> None:
    made = downloaded()
    archive.append(made)
    archive.listed("BTC/USDT", 1)
    for width_s, origin_s in ((420, 0), (420, 100), (5431, -77), (90_000, 3600)):
        bars: dict[int, list[Trade]] = defaultdict(list)
        for row in made:
            bars[(row.time_us - origin_s * 1_000_000) // (width_s * 1_000_000)].append(row)
        expected = [
            (datetime.fromtimestamp(number * width_s + origin_s, UTC), *summary(rows, 1))
            for number, rows in sorted(bars.items())
        ]
        origin = datetime.fromtimestamp(origin_s, UTC)
        found = ask(
            f"SELECT time, {EXACT} FROM time_bars('BTC/USDT', ?::INTERVAL, origin := ?)", f"{width_s} seconds", origin
        )
        assert found == expected


def test_a_range_chooses_whole_time_bars_by_their_start(archive: Written, ask: Ask) -> None:
    archive.append([trade(n, at_us(n / 4)) for n in range(1, 20)])

    def bars(*limits: object) -> list[tuple[object, ...]]:
        return ask("SELECT time, count FROM time_bars('BTC/USD', '1 minute', ?, ?, ?)", *limits, minute(0.5))

    assert bars(minute(0.5), minute(2.5)) == [(minute(0.5), 4), (minute(1.5), 4)]
    assert bars(minute(0.6), minute(2.6)) == [(minute(1.5), 4), (minute(2.5), 4)]
    assert bars(None, minute(0.5)) == [(minute(-0.5), 1)]


def test_bars_stand_where_origin_says_however_far_that_is(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, 0), trade(2, at_us(0))])
    bars = "SELECT epoch_us(time) // 60000000 FROM time_bars('BTC/USD', '1 hour', origin := ?)"
    noon = START_US // MINUTE_US
    for origin_minutes in (10, -50, noon + 10, 100 * noon + 10):
        ((moment,),) = ask("SELECT make_timestamptz(?::BIGINT)", origin_minutes * MINUTE_US)
        assert ask(bars, moment) == [(-50,), (noon - 50,)]


@pytest.mark.parametrize(
    ("total", "size", "times"),
    [
        ("0", "1", 0),
        ("0.3", "0.1", 3),  # 2.9999999999999996 in doubles
        ("9007199254.99999999", "1", 9007199254),  # …255 in doubles
        ("9007199255", "1", 9007199255),
        ("0.00000002", "0.00000001", 2),
        ("99999999.98999999", "0.01", 9999999998),
        ("2.99999999999999999999", "1", 2),  # 3.0 as a double
        ("99999999.99999994", "1", 99999999),  # nearer to a whole number than doubles tell apart for certain
        ("99999999.5", "1", 99999999),
    ],
)
def test_whole_times_is_right_where_doubles_are_not(ask: Ask, total: str, size: str, times: int) -> None:
    assert ask("SELECT whole_times(?::DECIMAL(38, 20), ?::DECIMAL(28, 8))", total, size) == [(times,)]


@pytest.mark.parametrize(
    ("bars", "said"),
    [
        ("time_bars('BTC/USD', '1 month')", "write it in days"),
        ("time_bars('BTC/USD', '1 year')", "write it in days"),
        ("time_bars('BTC/USD', '0 s')", "above zero"),
        ("time_bars('BTC/USD', '-1 hour')", "above zero"),
        ("tick_bars('BTC/USD', 0)", "above zero"),
        ("volume_bars('BTC/USD', -1)", "above zero"),
        ("dollar_bars('BTC/USD', 0)", "above zero"),
    ],
)
def test_a_size_that_no_bar_has_is_an_error(archive: Written, ask: Ask, bars: str, said: str) -> None:
    archive.append(trades(1, 3))
    with pytest.raises(duckdb.InvalidInputException, match=said):
        ask(f"FROM {bars}")


def test_tick_bars_are_made_of_ids_so_no_hole_and_no_range_moves_them(archive: Written, ask: Ask) -> None:
    made = holed(archive)
    told = "first_id, last_id, count, complete, missing_trades"
    bars = [(1, 4, 4, True, 0), (5, 6, 2, False, 2), (9, 11, 3, False, 1), (30, 32, 3, False, 1)]
    assert ask(f"SELECT {told} FROM tick_bars('BTC/USD', 4)") == bars
    # What start cuts is held, and yet not in the bar.
    assert ask(f"SELECT {told} FROM tick_bars('BTC/USD', 4, ?, ?)", minute(1), minute(3)) == [
        (3, 4, 2, False, 0),
        (5, 6, 2, False, 2),
    ]
    assert ask(f"SELECT time, time_end, {EXACT} FROM tick_bars('BTC/USD', 4) LIMIT 1") == [
        (START + timedelta(seconds=20), START + timedelta(seconds=80), *summary(made[:4], 1))
    ]
    # Of ids that are yet to come, and those before the first one held, none is missing.
    assert ask(f"SELECT {told} FROM tick_bars('BTC/USD', 100)") == [(1, 32, 12, False, 20)]
    archive.append(trades(12, 29))
    archive.append(trades(7, 8))
    assert ask("SELECT count(*), sum(missing_trades)::INT FROM tick_bars('BTC/USD', 4)") == [(8, 0)]


def test_a_volume_bar_ends_with_the_trade_that_fills_it_and_gives_the_rest_to_the_next(
    archive: Written, ask: Ask
) -> None:
    made = holed(archive)
    told = "first_id, last_id, complete, missing_trades"
    assert ask(f"SELECT {told} FROM volume_bars('BTC/USD', 1.2)") == [
        (1, 3, True, 0),  # 1.5
        (4, 5, True, 0),  # 2.5, which is 2.4 or more
        (6, 6, False, 2),  # the hole comes before it is full
        (9, 11, False, 2),  # and who knows where it would have begun
        (30, 32, False, 18),
    ]
    # 101 to 106 by halves: the sum is 50.5, 101.5, 153, 205, 257.5, 310.5
    assert ask(f"SELECT {told} FROM dollar_bars('BTC/USD', 101.5) LIMIT 4") == [
        (1, 2, True, 0),  # just full
        (3, 4, True, 0),
        (5, 6, True, 0),  # the hole comes after it is full
        (9, 10, False, 2),
    ]
    assert ask(f"SELECT {EXACT} FROM volume_bars('BTC/USD', 1.2) LIMIT 1") == [summary(made[:3], 1)]
    # A range chooses bars by their first trade, and neither moves nor cuts them.
    assert ask(f"SELECT {told} FROM volume_bars('BTC/USD', 1.2, ?, ?)", minute(1), minute(1.9)) == [(4, 5, True, 0)]


def test_sums_begin_anew_at_each_midnight(archive: Written, ask: Ask) -> None:
    night_us = at_us(12 * 60)
    archive.append([trade(n, night_us + (n - 4) * MINUTE_US) for n in range(1, 9)])
    told = "SELECT first_id, last_id, complete FROM volume_bars('BTC/USD', 2)"
    assert ask(told) == [(1, 2, True), (3, 3, False), (4, 5, True), (6, 7, True), (8, 8, False)]
    archive.noted(*promised("ETH/USD", night_us, 4), *promised("SOL/USD", night_us - 1, 4))
    for pair, begins in (("ETH/USD", False), ("SOL/USD", True)):
        archive.append([trade(n, night_us + n * MINUTE_US, pair=pair) for n in (5, 6)])
        assert ask("SELECT complete FROM volume_bars(?, 2)", pair) == [(begins,)], (
            "is anything of the day not promised?"
        )


def test_trades_of_two_days_in_turns_count_for_their_own_day_and_run(archive: Written, ask: Ask) -> None:
    night_us = at_us(12 * 60)
    # 5 is missing. The first trade of the run after it is of the second day, the next two of the first.
    days = {1: -1, 2: -1, 3: 1, 4: -1, 6: 1, 7: -1, 8: -1, 9: 1, 10: 1}
    archive.append([trade(number, night_us + day * number * MINUTE_US) for number, day in days.items()])
    told = "SELECT first_id, last_id, count, complete FROM volume_bars('BTC/USD', 2)"
    assert ask(told) == [
        (1, 2, 2, True),
        (3, 3, 1, False),
        (4, 4, 1, False),
        (6, 9, 2, False),
        (7, 8, 2, True),
        (10, 10, 1, False),
    ]


def test_a_trade_of_several_sizes_is_one_bar(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, qty="0.5"), trade(2, qty="7"), trade(3, qty="0.25"), trade(4, qty="0.25"), trade(5)])
    assert ask("SELECT first_id, last_id, complete FROM volume_bars('BTC/USD', 2)") == [
        (1, 2, True),  # 7.5: what is too much counts for the next
        (3, 4, True),  # 8
        (5, 5, False),
    ]


def measured(rows: Iterable[Trade], size: Decimal, measure: Callable[[Trade], Decimal]) -> list[list[Trade]]:
    """Put rows into bars one by one, anew after each hole and at midnight."""
    bars: list[list[Trade]] = []
    for _, run in groupby(enumerate(rows), key=lambda item: (item[1].trade_id - item[0], item[1].time_us // DAY_US)):
        total, number = Decimal(0), None
        for _, row in run:
            begins = total // size
            if begins != number:
                bars.append([])
                number = begins
            bars[-1].append(row)
            total += measure(row)
    return bars


@pytest.mark.parametrize(
    ("macro", "size", "measure"),
    [
        ("volume_bars", "2.5", lambda row: row.qty),
        ("volume_bars", "0.00012345", lambda row: row.qty),
        ("dollar_bars", "100000", lambda row: row.price * row.qty),
    ],
)
def test_measured_bars_equal_decimal_arithmetic_on_real_trades(
    archive: Written, ask: Ask, macro: str, size: str, measure: Callable[[Trade], Decimal]
) -> None:
    made = downloaded()
    archive.append(made)
    archive.listed("BTC/USDT", 1)
    bars = measured(made, Decimal(size), measure)
    assert len(bars) > 50
    assert ask(f"SELECT {EXACT} FROM {macro}('BTC/USDT', ?)", Decimal(size)) == [summary(bar, 1) for bar in bars]


QUANTITIES = st.decimals("0.00000001", "1000", places=8, allow_nan=False)


ROW = st.tuples(st.integers(1, 3), st.integers(0, 90), QUANTITIES)


# Few examples with many rows: a question takes far longer to plan than to answer.
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(ROW, min_size=1, max_size=5) | st.lists(ROW, min_size=20, max_size=60),
    size=st.decimals("0.00000001", "100", places=8, allow_nan=False),
    ticks=st.integers(1, 9),
)
def test_bars_hold_every_trade_once_and_are_complete_only_where_none_can_be_missing(
    archive: Written, ask: Ask, rows: list[tuple[int, int, Decimal]], size: Decimal, ticks: int
) -> None:
    pair = f"{uuid.uuid4()}/USD"
    made: list[Trade] = []
    trade_id, time_us = 0, START_US
    for step, seconds, qty in rows:
        trade_id, time_us = trade_id + step, time_us + seconds * 1_000_000
        made.append(trade(trade_id, time_us, "100", f"{qty:f}", pair=pair))
    archive.append(made)
    held = {row.trade_id for row in made}
    told = "SELECT first_id, last_id, count, complete, missing_trades, time, time_end FROM"
    by_time: list[tuple[object, ...]] = []
    calls = (("time_bars(?, '1 minute')", ()), ("tick_bars(?, ?)", (ticks,)), ("volume_bars(?, ?)", (size,)))
    for call, params in calls:
        bars = ask(f"{told} {call} ORDER BY first_id", pair, *params)
        by_time = bars if call.startswith("time") else by_time
        assert sum(count for _, _, count, *_ in bars) == len(made)  # type: ignore[misc]
        for first_id, last_id, count, complete, missing, *_ in bars:
            assert isinstance(first_id, int)
            assert isinstance(last_id, int)
            within = set(range(first_id, last_id + 1))
            assert len(within & held) == count
            if complete:
                assert missing == 0
                assert within <= held
                assert first_id == 1 or first_id - 1 in held or (call.startswith("tick") and first_id % ticks in {0, 1})
            if within - held:
                assert missing
                assert not complete
    holes = [
        (before.time_us, after.time_us, after.trade_id - before.trade_id - 1)
        for before, after in pairwise(made)
        if after.trade_id > before.trade_id + 1
    ]
    for *_, missing, time, time_end in by_time:
        begin, end = (int(moment.timestamp()) * 1_000_000 for moment in (time, time_end))  # type: ignore[attr-defined]
        assert missing == sum(count for after, before, count in holes if after < end and before >= begin)


def promised(pair: str, time_us: int, after_id: int) -> list[Event]:
    known: list[Promised | Anchored] = [Promised(pair, time_us), Anchored(pair, time_us, after_id)]
    return [Event(START_US, evidence.kind(one), pair, json.dumps(evidence.detail(one))) for one in known]


BARS = "FROM time_bars('BTC/USD', '1 minute')", "FROM candles('BTC/USD', '1m')", "FROM tick_bars('BTC/USD', 4)"


def test_ids_between_the_promise_and_the_first_trade_are_missing_in_bars_too(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.noted(*promised("BTC/USD", at_us(0) + 30_000_000, 100))
    archive.append([trade(one, at_us(2) + (one - 105) * MINUTE_US) for one in range(105, 109)])
    time_bars, candles, tick_bars = BARS
    assert ask(f"SELECT first_id, complete, missing_trades {time_bars}") == [
        (105, False, 4), (106, True, 0), (107, True, 0), (108, False, 0),
    ]  # fmt: skip
    assert ask(f"SELECT complete {candles}") == [(False,), (True,), (True,), (False,)]
    assert ask(f"SELECT first_id, missing_trades {tick_bars}") == [(105, 0)]
    assert ask("SELECT missing_trades FROM tick_bars('BTC/USD', 10)") == [(4,)], "101 to 104; what is below is history"
    assert ask("SELECT missing_trades FROM volume_bars('BTC/USD', 100)") == [(4,)]
    assert ask("SELECT sum(missing)::INT FROM gaps WHERE state = 'open'") == [(4,)], "and so they are for gaps"


def test_bars_after_an_anchored_promise_are_complete(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1)
    archive.noted(*promised("BTC/USD", at_us(0), 104))
    archive.append([trade(one, at_us(2) + (one - 105) * MINUTE_US) for one in range(105, 108)])
    time_bars, candles, _ = BARS
    expected = [(True,), (True,), (False,)]
    assert ask(f"SELECT complete {time_bars}") == ask(f"SELECT complete {candles}") == expected
    with connect(archive.data) as opened:
        assert opened.sql(f"SELECT complete {time_bars}").complete.tolist() == [True, True, False]


@pytest.mark.parametrize("odd", [datetime(2102, 5, 7, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("at", [101, 103, 105])
def test_a_trade_with_an_odd_time_neither_fills_bars_for_decades_nor_proves_any(
    archive: Written, ask: Ask, odd: datetime, at: int
) -> None:
    archive.listed("BTC/USD", 1)
    rows = [trade(one, at_us(one - 100)) for one in range(101, 106)] + [trade(200, at_us(200))]
    rows = [trade(one.trade_id, int(odd.timestamp()) * 1_000_000) if one.trade_id == at else one for one in rows]
    archive.append(rows)
    time_bars, candles, _ = BARS
    filled = ask("SELECT time, first_id FROM time_bars('BTC/USD', '1 minute', filled := true)")
    assert len(filled) <= 201
    assert [row for row in filled if row[1] == at] == [(odd, at)]
    if at == 103:
        assert len(ask("FROM candle_audit('BTC/USD', '1m')")) <= 201
    assert (200, 94) in ask(f"SELECT first_id, missing_trades {time_bars}")
    proven = {number for number, complete in ask(f"SELECT first_id, complete {time_bars}") if complete}
    started: dict[object, int] = {minute(number - 100): number for number in range(101, 201)}
    of_candles = {started.get(time) for time, complete in ask(f"SELECT time, complete {candles}") if complete}
    assert at not in proven
    # 105 is followed by a hole, and before 101 nothing is known: whatever lies beside an odd one there is not proven.
    assert proven <= {102, 103, 104} - {at}
    assert of_candles <= {102, 103, 104} - {at}
    if at == 103:
        assert proven == of_candles == {102, 104}
    assert ask("SELECT sum(missing_trades) FROM missing_between('BTC/USD')") == [(94,)]


def test_bars_of_a_pinned_connection_count_in_the_journal(archive: Written) -> None:
    archive.append(trades(1, 100))
    archive.journalled(trades(101, 130))
    for live, last in ((False, 100), (True, 130)):
        with connect(archive.data, live=live) as opened:
            for bars in ("time_bars('BTC/USD', '1 minute')", "tick_bars('BTC/USD', 7)", "volume_bars('BTC/USD', 7)"):
                found = opened.sql(f"SELECT max(last_id) AS last, sum(missing_trades) AS missing FROM {bars}")
                assert found.iloc[0].tolist() == [last, 0]
