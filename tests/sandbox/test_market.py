from __future__ import annotations

import itertools
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.model import PRICE_SCALE
from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.sandbox import wire_format
from recorder.sandbox.market import CHARACTERS, LONGEST_HISTORY_NS, Market, others_trading
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.tape import NewTrades, Tape

START_NS = 1_783_465_200_000_000_000
S = 1_000_000_000


def contents(tape: Tape) -> list[tuple[int, int, int, int, int]]:
    span = tape.span
    return [] if span is None else list(tape.rows(span))


def test_the_same_seed_makes_the_same_market_and_another_seed_another() -> None:
    one, same, other = (Market(start_ns=START_NS, seed=seed, rate=500) for seed in (1, 1, 2))
    for market in (one, same, other):
        market.advance(START_NS + S)
    for symbol, tape in one.tapes.items():
        assert contents(tape) == contents(same.tapes[symbol])
    assert contents(one.tapes["BTC/USD"]) != contents(other.tapes["BTC/USD"])


@settings(max_examples=25)
@given(steps=st.lists(st.integers(1, S // 2), max_size=8))
def test_the_trades_do_not_depend_on_the_steps_in_which_time_passes(steps: list[int]) -> None:
    stepped, at_once = (Market(start_ns=START_NS, rate=300, history=5) for _ in range(2))
    now_ns = START_NS
    for step in steps:
        now_ns += step
        stepped.advance(now_ns)
    at_once.advance(now_ns)
    for symbol, tape in stepped.tapes.items():
        assert contents(tape) == contents(at_once.tapes[symbol])


def test_what_is_reported_as_made_is_every_new_id_once() -> None:
    market = Market(start_ns=START_NS, rate=2000, history=10)
    told = Counter[tuple[str, int]]()
    for step in range(1, 51):
        for made in market.advance(START_NS + step * S // 50):
            told.update((made.pair, trade_id) for trade_id in range(made.span.first, made.span.last + 1))
    for symbol, tape in market.tapes.items():
        assert [told[symbol, trade_id] for trade_id in range(11, tape.last_id + 1)] == [1] * (len(tape) - 10)


def test_the_rate_is_that_of_all_pairs_together_and_the_thin_pair_stays_thin() -> None:
    market = Market(start_ns=START_NS, rate=20_000, history=0)
    made = Counter({made.pair: len(made.span) for made in market.advance(START_NS + 2 * S)})
    assert 30_000 < made.total() < 50_000
    assert made["BTC/USD"] > 10_000
    assert made["MINA/GBP"] < 400


def test_history_ends_before_the_start_and_ids_begin_where_they_are_told_to() -> None:
    market = Market(start_ns=START_NS, history={"BTC/USD": 700, "DOGE/USD": 3}, first_id=42)
    assert market.tapes["BTC/USD"].span == Span(42, 741)
    assert market.tapes["DOGE/USD"].span == Span(42, 44)
    assert market.tapes["ETH/EUR"].span is None
    assert market.tapes["BTC/USD"].times_ns[-1] < START_NS
    made = market.advance(START_NS + 10 * S)
    assert all(market.tapes[run.pair].times_ns[run.span.first - 42] >= START_NS for run in made)
    assert next(run for run in made if run.pair == "BTC/USD").span.first == 742


def test_invented_times_never_run_back_and_values_fit_the_archive() -> None:
    market = Market(start_ns=START_NS, rate=5000)
    market.burst("SHIB/USD", 500, START_NS)
    market.advance(START_NS + 3 * S)
    for tape in market.tapes.values():
        assert all(one <= following for one, following in itertools.pairwise(tape.times_ns))
        assert min(tape.prices) > 0
        assert min(tape.qtys) > 0
        assert tape.price_digits <= PRICE_SCALE
        assert tape.pair.rest_digits <= PRICE_SCALE


def test_many_trades_share_one_printed_microsecond_and_one_printed_double() -> None:
    tape = Market(start_ns=START_NS, history={"BTC/USD": 5000}).tapes["BTC/USD"]
    pairs = list(itertools.pairwise(tape.times_ns))
    assert sum(one // 1000 == two // 1000 for one, two in pairs) > 1000
    assert sum(wire_format.printed_double(one) == wire_format.printed_double(two) for one, two in pairs) > 1000
    assert sum(one == two for one, two in pairs) == 0


def test_rows_that_are_equal_in_all_that_is_printed_but_the_id_are_common() -> None:
    tape = Market(start_ns=START_NS, history={"BTC/USD": 5000}).tapes["BTC/USD"]
    printed = Counter((time // 1000, *rest) for _, time, *rest in contents(tape))
    assert sum(count - 1 for count in printed.values()) > 100


def test_the_pairs_reach_the_extremes_of_digits_and_quantities() -> None:
    market = Market(start_ns=START_NS, history=2000)
    digits = {symbol: (tape.price_digits, tape.qty_digits) for symbol, tape in market.tapes.items()}
    assert digits["BTC/USD"] == (1, 8)
    assert digits["MOG/USD"] == (10, 5)
    assert digits["SHIB/USD"][1] == 5
    assert max(Decimal(qty).scaleb(-5) for qty in market.tapes["SHIB/USD"].qtys) > 100_000_000
    assert 38_332_050_000_000 in market.tapes["SHIB/USD"].qtys


def test_a_burst_is_one_sweep_of_exactly_that_many_trades() -> None:
    market = Market(start_ns=START_NS)
    (made,) = market.burst("ETH/EUR", 1000, START_NS + S)
    assert made.span == Span(1001, 2000)
    rows = list(market.tapes["ETH/EUR"].rows(made.span))
    assert rows[0][1] == START_NS + S
    assert rows[-1][1] - rows[0][1] < 100_000
    assert len({mark for *_, mark in rows}) == 1


def test_a_market_without_a_rate_has_history_and_trades_in_bursts_only() -> None:
    market = Market(start_ns=START_NS, rate=0, history=100)
    assert market.advance(START_NS + 10**6 * S) == []
    assert market.burst("MINA/GBP", 3, START_NS) == [NewTrades("MINA/GBP", Span(101, 103))]


@pytest.mark.parametrize("rate", [0, 1e-9])
def test_history_is_younger_than_kraken_however_thin_the_pair(rate: float) -> None:
    tape = Market(start_ns=START_NS, rate=rate, history={"MINA/GBP": 1000}).tapes["MINA/GBP"]
    assert tape.times_ns[0] > START_NS - 3 * LONGEST_HISTORY_NS


def test_two_bursts_at_one_moment_do_not_overlap_in_time() -> None:
    market = Market(start_ns=START_NS, history=0)
    market.burst("ETH/EUR", 100, START_NS)
    market.burst("ETH/EUR", 100, START_NS)
    times = market.tapes["ETH/EUR"].times_ns
    assert list(times) == sorted(set(times))


def test_nothing_is_made_for_the_time_that_is_skipped() -> None:
    paused, straight = (Market(start_ns=START_NS, rate=1000, history=0) for _ in range(2))
    paused.advance(START_NS + S)
    paused.skip(60 * S)
    paused.advance(START_NS + 62 * S)
    straight.advance(START_NS + 2 * S)
    for symbol, tape in paused.tapes.items():
        assert len(tape) == len(straight.tapes[symbol])
        assert not [time for time in tape.times_ns if START_NS + S + 100_000 < time < START_NS + 61 * S]


def test_a_clock_that_steps_back_makes_nothing() -> None:
    market = Market(start_ns=START_NS, rate=1000)
    market.advance(START_NS + S)
    assert market.advance(START_NS - 3600 * S) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_seed_walks_the_price_to_zero(seed: int) -> None:
    tape = Market(start_ns=START_NS, seed=seed, history={"SHIB/USD": 100_000}).tapes["SHIB/USD"]
    assert 300 < min(tape.prices) <= max(tape.prices) < 5000


REAL = [
    pair_of("DOGE/USD", pair_decimals=7, lot_decimals=8, cost_decimals=9, costmin="7"),
    pair_of("ADA/USD", pair_decimals=6, lot_decimals=8),
    pair_of("SOL/EUR", pair_decimals=2, lot_decimals=5),
]


def test_a_listing_is_listed_whole_and_only_those_with_a_character_trade() -> None:
    market = Market(start_ns=START_NS, history=5, listed=REAL)
    assert [pair.symbol for pair in market.listing.pairs][:3] == ["DOGE/USD", "ADA/USD", "SOL/EUR"]
    assert market.listing["DOGE/USD"].fields["costmin"] == "7"
    assert {symbol: len(tape) for symbol, tape in market.tapes.items() if not len(tape)} == {
        "ADA/USD": 0,
        "SOL/EUR": 0,
    }
    assert market.burst("ADA/USD", 3, START_NS)[0].span == Span(1, 3)


def test_others_of_a_listing_trade_when_wanted_and_together_as_much_as_the_six() -> None:
    assert [one.pair.symbol for one in others_trading(REAL, ["SOL/EUR"])] == ["SOL/EUR"]
    everyone = others_trading(REAL, ["*"])
    assert [(one.pair.symbol, one.weight) for one in everyone] == [("ADA/USD", 0.5), ("SOL/EUR", 0.5)]
    assert others_trading(REAL, []) == []
    with pytest.raises(UsageError, match="'XDGUSD' cannot trade"):
        others_trading(REAL, ["XDGUSD"])
    market = Market(start_ns=START_NS, history=7, characters=[*CHARACTERS, *everyone], listed=REAL)
    assert {len(tape) for tape in market.tapes.values()} == {7}


def test_a_listing_with_other_digits_than_a_character_is_refused() -> None:
    with pytest.raises(UsageError, match="DOGE/USD trades here with 7 and 8 digits, the listing says 5 and 8"):
        Market(start_ns=START_NS, listed=[REAL[0].changed(pair_decimals=5)])


def test_a_new_pair_trades_from_its_listing_on_and_stops_when_it_is_removed() -> None:
    market = Market(start_ns=START_NS, rate=0, history=0)
    market.enlist(REAL[1], now_ns=START_NS, trades_per_s=50)
    made = market.advance(START_NS + 10 * S)
    assert [one.pair for one in made] == ["ADA/USD"]
    tape = market.tapes["ADA/USD"]
    assert len(tape) > 100
    assert tape.times_ns[0] >= START_NS
    market.delist("ADA/USD")
    assert market.advance(START_NS + 20 * S) == []
    assert "ADA/USD" not in market.listing
    last_id = tape.last_id
    market.enlist(REAL[1], now_ns=START_NS + 30 * S, trades_per_s=50)
    (again,) = market.advance(START_NS + 40 * S)
    assert again.span.first == last_id + 1
    assert tape.times_ns[last_id] >= START_NS + 30 * S


@pytest.mark.parametrize(
    ("fields", "digits", "unit"),
    [
        ({"pair_decimals": 3}, 3, 1),
        ({"pair_decimals": 0}, 1, 10),
        ({"tick_size": "0.5"}, 1, 5),
        ({"pair_decimals": 4, "tick_size": "0.005"}, 4, 50),
    ],
)
def test_after_a_change_of_tick_prices_move_in_the_new_steps_from_where_they_were(
    fields: dict[str, Any], digits: int, unit: int
) -> None:
    market = Market(start_ns=START_NS, rate=500, history=50)
    tape = market.tapes["BTC/USD"]
    before = [price * 10 ** (digits - 1) for price in tape.prices]
    market.relist("BTC/USD", market.listing["BTC/USD"].changed(**fields), now_ns=START_NS)
    assert (tape.price_digits, list(tape.prices)) == (digits, before)
    market.advance(START_NS + 10 * S)
    new = tape.prices[50:]
    assert len(new) > 500
    assert {price % unit for price in new} == {0}
    assert abs(new[0] - before[-1]) < 200 * max(unit, 10 ** (digits - 1))


def test_a_renamed_pair_trades_on_under_its_new_name() -> None:
    market = Market(start_ns=START_NS, rate=500, history=50)
    market.relist("BTC/USD", market.listing["BTC/USD"].changed(wsname="BITCOIN/USD"), now_ns=START_NS)
    made = {one.pair: one.span.first for one in market.advance(START_NS + 5 * S)}
    assert made["BITCOIN/USD"] == 51
    assert "BTC/USD" not in made


def test_no_burst_walks_below_the_first_step_of_a_price() -> None:
    market = Market(start_ns=START_NS, rate=0, history=0)
    for _ in range(4):
        market.burst("SHIB/USD", 20_000, START_NS)
    assert min(market.tapes["SHIB/USD"].prices) >= 1
