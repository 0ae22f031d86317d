from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import TIMEFRAMES
from recorder.core.schedule import WINDOW, Schedule, Series

START_S = 1_800_000_000.0
HOUR_S = 3600.0
BTC_1M = Series("BTC/USD", "1m")
BTC_1D = Series("BTC/USD", "1d")


def committed_until(series: Series, now_s: float) -> float:
    return now_s // series.interval_s * series.interval_s


def test_a_new_series_is_due_at_once_and_then_when_its_next_candle_is_committed() -> None:
    schedule = Schedule(refresh_s=10, per_s=1)
    now_s = START_S + 30
    schedule.add(BTC_1M, now_s, held_until_s=None)
    assert schedule.next(now_s) == BTC_1M
    schedule.answered(BTC_1M, now_s, held_until_s=START_S)
    assert schedule.next(now_s) is None
    assert schedule.wait_s(now_s) == 30
    assert schedule.next(START_S + 60) == BTC_1M


def test_refresh_bounds_how_often_a_series_is_asked_for() -> None:
    schedule = Schedule(refresh_s=300, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=None)
    schedule.answered(BTC_1M, START_S, held_until_s=START_S)
    assert schedule.wait_s(START_S) == 300


def test_a_failed_series_lets_others_go_first_and_comes_back_later_each_time() -> None:
    schedule = Schedule(refresh_s=60, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=None)
    waits = []
    now_s = START_S
    for _ in range(8):
        schedule.failed(BTC_1M, now_s)
        wait_s = schedule.wait_s(now_s)
        assert wait_s is not None
        waits.append(wait_s)
        now_s += wait_s
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_near_deadline_goes_before_whoever_has_waited_longer() -> None:
    schedule = Schedule(refresh_s=60, per_s=1)
    schedule.add(BTC_1D, START_S, held_until_s=None)
    near = START_S + 1000
    schedule.add(BTC_1M, near, held_until_s=near - (WINDOW - 0.1) * 60)
    assert schedule.next(near) == BTC_1M


def test_what_fell_out_of_reach_while_away_does_not_make_a_deadline() -> None:
    schedule = Schedule(refresh_s=60, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=START_S - 100 * HOUR_S)
    assert schedule.deadline_s(BTC_1M) >= START_S


def test_a_removed_series_is_never_asked_for_again() -> None:
    schedule = Schedule(refresh_s=60, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=None)
    schedule.remove(BTC_1M)
    assert schedule.next(START_S) is None
    assert schedule.wait_s(START_S) is None
    schedule.answered(BTC_1M, START_S, held_until_s=START_S)
    assert len(schedule) == 0


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(list(TIMEFRAMES)), st.booleans()), max_size=40),
    st.integers(0, 1000),
)
def test_only_due_series_are_ever_given_a_turn(turns: list[tuple[str, str, bool]], seed: int) -> None:
    random, schedule, now_s = Random(seed), Schedule(refresh_s=60, per_s=1), START_S
    for pair, timeframe, fails in turns:
        series = Series(pair, timeframe)
        if series not in schedule:
            schedule.add(series, now_s, held_until_s=None)
        turn = schedule.next(now_s)
        wait_s = schedule.wait_s(now_s)
        assert (turn is not None) == (wait_s == 0)
        if turn is not None:
            assert schedule._states[turn].due_s <= now_s
            if fails:
                schedule.failed(turn, now_s)
            else:
                schedule.answered(turn, now_s, held_until_s=committed_until(turn, now_s))
        now_s += random.uniform(0, 100)


@pytest.mark.parametrize("outage_from_h", [0.0, 11.0, 30.0])
def test_no_minute_candle_is_lost_in_48_hours_of_1000_pairs_at_one_request_a_second(outage_from_h: float) -> None:
    """From a cold start, through an hour of outage, and a throttle episode that halves the pace for two hours."""
    schedule = Schedule(refresh_s=60, per_s=1)
    for number in range(1000):
        for timeframe in ("1m", "1h", "1d"):
            schedule.add(Series(f"P{number}/USD", timeframe), START_S, held_until_s=None)
    now_s, worst_slack_s, answers = START_S, float("inf"), dict.fromkeys(("1m", "1h", "1d"), 0)
    held_until = {series: committed_until(series, START_S) for series in schedule.series()}
    while now_s < START_S + 48 * HOUR_S:
        series = schedule.next(now_s)
        if series is None:
            now_s += schedule.wait_s(now_s) or 1
            continue
        hours = (now_s - START_S) / HOUR_S
        if outage_from_h <= hours < outage_from_h + 1:
            schedule.failed(series, now_s)
        else:
            first_served_s = committed_until(series, now_s) - WINDOW * series.interval_s
            assert held_until[series] >= first_served_s, f"{series} lost candles"
            worst_slack_s = min(worst_slack_s, held_until[series] + WINDOW * series.interval_s - now_s)
            held_until[series] = committed_until(series, now_s)
            schedule.answered(series, now_s, held_until_s=held_until[series])
            answers[series.timeframe] += 1
        now_s += 2.0 if 20 <= hours < 22 else 1.0
    print(f"worst slack {worst_slack_s / HOUR_S:.2f} h, answers {answers}")  # noqa: T201 -- pytest -s shows it
    assert worst_slack_s > 9 * HOUR_S, "a round takes an hour and a half; most of the window must be left"
    assert answers["1d"] >= 3000, "a day's candle is not starved by a thousand minutes'"
    assert answers["1h"] >= 40_000
