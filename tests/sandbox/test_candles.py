from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.sandbox import wire_format
from recorder.sandbox.candles import COMMITTED, INTERVALS, Candle, CandleSeries
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.replay import replay_files
from recorder.sandbox.tape import Tape
from tests.sandbox.conftest import tape_of

NS = 10**9
MINUTE = 60 * NS
START = 29_000_000 * MINUTE


def rescanned(tape: Tape, *, minutes: int, begin_ns: int, running_ns: int) -> list[Candle]:
    """Build the candles again, each from all trades."""
    rows = list(zip(tape.times_ns, tape.prices, tape.qtys, strict=True))
    candles = []
    for start_ns in range(begin_ns, running_ns + 1, minutes * MINUTE):
        inside = [(price, qty) for time_ns, price, qty in rows if 0 <= time_ns - start_ns < minutes * MINUTE]
        before = [price for time_ns, price, _ in rows if time_ns < start_ns]
        prices = [price for price, _ in inside] or before[-1:]
        first = prices[0] if inside else before[-1]
        notional, qty = sum(price * qty for price, qty in inside), sum(qty for _, qty in inside)
        candles.append(Candle(start_ns, first, max(prices), min(prices), prices[-1], notional, qty, len(inside)))
    return candles


def test_a_tape_without_a_trade_has_no_candle() -> None:
    assert CandleSeries(tape_of(), 1).window(START) == []


def test_candles_begin_with_the_first_trade_and_end_with_the_running_one() -> None:
    candles = CandleSeries(tape_of((START + 5, 100, 7)), 1)
    window = candles.window(START + 2 * MINUTE)
    assert [(candle.start_ns - START) // MINUTE for candle in window] == [0, 1, 2]
    assert window[0] == Candle(START, 100, 100, 100, 100, 700, 7, 1)
    assert candles.committed_s == (START + MINUTE) // NS


def test_a_silent_interval_is_flat_at_the_close_before_it() -> None:
    tape = tape_of((START, 100, 1), (START + 3 * MINUTE, 150, 1))
    silent = CandleSeries(tape, 1).window(START + 3 * MINUTE)[1:3]
    assert [candle[1:] for candle in silent] == [(100, 100, 100, 100, 0, 0, 0)] * 2


def test_a_window_is_720_committed_candles_and_the_running_one_however_old_since_is() -> None:
    tape = tape_of((START, 100, 1), (START + MINUTE, 200, 1))
    now_ns = START + 2000 * MINUTE
    for since_s in (None, 0, START // NS):
        window = CandleSeries(tape, 1).window(now_ns, since_s=since_s)
        assert len(window) == COMMITTED + 1
        assert window[0].start_ns == now_ns - COMMITTED * MINUTE
        assert {candle.close for candle in window} == {200}


@pytest.mark.parametrize(
    ("since_s", "inclusive", "first"),
    [(0, True, 3), (0, False, 4), (-1, True, 3), (1, True, 4), (1, False, 4), (59, False, 4), (-60, False, 3)],
)
def test_since_keeps_the_candle_that_starts_there_unless_switched_to_exclusive(
    since_s: int, *, inclusive: bool, first: int
) -> None:
    window = CandleSeries(tape_of((START, 100, 1)), 1).window(
        START + 9 * MINUTE, since_s=START // NS + 180 + since_s, inclusive=inclusive
    )
    assert window[0].start_ns == START + first * MINUTE


def test_since_now_or_later_gives_the_running_candle_alone() -> None:
    candles = CandleSeries(tape_of((START, 100, 1)), 5)
    for since_s in (START // NS + 301, 10**11):
        (running,) = candles.window(START + 5 * MINUTE + NS, since_s=since_s)
        assert running.start_ns == START + 5 * MINUTE


def test_what_was_committed_stays_so_when_the_clock_steps_back() -> None:
    tape = tape_of((START, 100, 1))
    candles = CandleSeries(tape, 1)
    before = candles.window(START + 9 * MINUTE)
    assert candles.window(START) == before


def test_a_tape_in_a_finer_scale_is_read_again() -> None:
    tape = tape_of((START, 100, 3))
    candles = CandleSeries(tape, 1)
    candles.window(START)
    tape.relist(pair_of("A/B", pair_decimals=2, lot_decimals=5), at_ns=START + MINUTE)
    tape.append(START + MINUTE, price=1001, qty=1, mark=0)
    assert candles.window(START + MINUTE) == [
        Candle(START, 1000, 1000, 1000, 1000, 3000, 3, 1),
        Candle(START + MINUTE, 1001, 1001, 1001, 1001, 1001, 1, 1),
    ]
    assert [wire_format.candle_row(tape, candle) for candle in candles.window(START + MINUTE)] == [
        f'[{START // NS},"10.0","10.0","10.0","10.0","10.0","0.00003000",1]',
        f'[{START // NS + 60},"10.01","10.01","10.01","10.01","10.01","0.00001000",1]',
    ]


def test_a_revised_candle_has_one_more_trade_of_the_least_quantity_each_time() -> None:
    candles = CandleSeries(tape_of((START, 100, 7), (START + 2 * MINUTE, 120, 1)), 1)
    for start_ns in (START, START + MINUTE):
        candles.revise(start_ns // NS)
    candles.revise(START // NS)
    first, silent, _ = candles.window(START + 2 * MINUTE)
    assert (first.notional, first.qty, first.trades) == (900, 9, 3)
    assert (silent.notional, silent.qty, silent.trades, silent.close) == (100, 1, 1, 100)


TRADES = st.lists(
    st.tuples(st.integers(0, 900 * 60), st.integers(1, 500), st.integers(1, 10**6)), min_size=1, max_size=60
)


@given(TRADES, st.sampled_from(INTERVALS[:5]), st.lists(st.integers(0, 60), max_size=5), st.integers(0, 800))
def test_gathered_step_by_step_candles_are_those_of_a_rescan(
    trades: list[tuple[int, int, int]], minutes: int, asked_after: list[int], idle_minutes: int
) -> None:
    tape = tape_of()
    candles = CandleSeries(tape, minutes)
    for index, (offset_s, price, qty) in enumerate(sorted(trades)):
        tape.append(START + offset_s * NS, price=price, qty=qty, mark=0)
        if index in asked_after:
            candles.window(tape.times_ns[-1])
    now_ns = tape.times_ns[-1] + idle_minutes * MINUTE
    window = candles.window(now_ns)
    step_ns = minutes * MINUTE
    running_ns = now_ns // step_ns * step_ns
    begin_ns = max(running_ns - COMMITTED * step_ns, tape.times_ns[0] // step_ns * step_ns)
    assert window == rescanned(tape, minutes=minutes, begin_ns=begin_ns, running_ns=running_ns)


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(1, 10**15)), min_size=1, max_size=20))
def test_the_vwap_is_cut_off_and_never_rounded(trades: list[tuple[int, int]]) -> None:
    tape = tape_of(*((START, price, qty) for price, qty in trades))
    row = json.loads(wire_format.candle_row(tape, CandleSeries(tape, 1).window(START)[0]))
    exact = Fraction(sum(price * qty for price, qty in trades), sum(qty for _, qty in trades)) / 10
    assert 0 <= exact - Fraction(row[5]) < Fraction(1, 10)
    assert len(row[5].partition(".")[2]) == 1


def test_a_trade_is_read_once_and_one_from_before_the_window_never() -> None:
    tape = tape_of((START - 800 * MINUTE, 1, 1), (START, 100, 1), (START + 1, 101, 1))
    candles = CandleSeries(tape, 1)
    before = candles.window(START)
    tape.prices[0], tape.prices[1] = 10**12, 10**12
    tape.append(START + 2, price=102, qty=1, mark=0)
    assert candles.window(START)[-1] == Candle(START, 100, 102, 100, 102, 303, 3, 3)
    assert before[-1].trades == 2


def test_the_real_trades_make_the_real_candles_text_for_text(payloads: Path) -> None:
    market = replay_files(
        listings=[payloads / "rest/AssetPairs/XBTUSDT_2025-11.json"],
        pages=[payloads / "rest/Trades/XBTUSDT_1000_2025-11-11.json"],
    )
    real = json.loads((payloads / "rest/OHLC/XBTUSDT_1m_721rows_2025-11-11.json").read_text(), parse_int=str)
    by_start = {row[0]: row for row in real["result"]["XBTUSDT"]}
    tape = market.tapes["BTC/USDT"]
    now_ns = tape.times_ns[-1] // MINUTE * MINUTE
    # The page begins in the middle of its first minute; its last was over when it was asked for.
    ours = [
        json.loads(wire_format.candle_row(tape, candle), parse_int=str)
        for candle in CandleSeries(tape, 1).window(now_ns)
    ]
    whole = [row for row in ours[1:] if row[0] in by_start]
    assert len(whole) > 400
    assert [row for row in whole if row != by_start[row[0]]] == []
    assert sum(Decimal(row[6]) > 0 for row in whole) == 273
    assert sum(row[7] == "0" for row in whole) == 137
