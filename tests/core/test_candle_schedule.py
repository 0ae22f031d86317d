from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.schedule import report, simulate
from recorder.core.candle_schedule import OVERLAP, SETTLE_S, WHOLE_EVERY, WINDOW, CandleSchedule, HeldWindow, Series
from recorder.core.model import TIMEFRAMES

START_S = 1_800_000_000.0
HOUR_S = 3600.0
BTC_1M = Series("BTC/USD", "1m")
BTC_1D = Series("BTC/USD", "1d")


def committed_until(series: Series, now_s: float) -> float:
    return now_s // series.interval_s * series.interval_s


def test_a_new_series_is_due_at_once_and_then_when_its_next_candle_is_committed() -> None:
    schedule = CandleSchedule(refresh_s=10, per_s=1)
    now_s = START_S + 30
    schedule.add(BTC_1M, now_s, held_until_s=None)
    assert schedule.next(now_s) == BTC_1M
    schedule.answered(BTC_1M, now_s, held_until_s=START_S)
    assert schedule.next(now_s) is None
    assert schedule.wait_s(now_s) == 30 + SETTLE_S
    assert schedule.next(START_S + 60 + SETTLE_S) == BTC_1M


def test_refresh_bounds_how_often_a_series_is_asked_for() -> None:
    schedule = CandleSchedule(refresh_s=300, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=None)
    schedule.answered(BTC_1M, START_S, held_until_s=START_S)
    assert schedule.wait_s(START_S) == 300


def test_another_refresh_holds_at_once_but_no_candle_is_asked_for_before_its_end() -> None:
    schedule = CandleSchedule(refresh_s=3600, per_s=1)
    for series in (BTC_1M, BTC_1D):
        schedule.add(series, START_S, held_until_s=None)
        schedule.answered(series, START_S, held_until_s=committed_until(series, START_S))
    now_s = START_S + 200
    schedule.change(now_s, refresh_s=300, per_s=1)
    assert schedule.wait_s(now_s) == 300
    schedule.change(now_s, refresh_s=1, per_s=1)
    assert schedule.wait_s(now_s) == 1
    schedule.answered(BTC_1M, now_s, held_until_s=committed_until(BTC_1M, now_s))
    schedule.change(now_s, refresh_s=3600, per_s=1)
    assert schedule.wait_s(now_s) == 60 - now_s % 60 + SETTLE_S, "what is due sooner stays so, this once"
    schedule.answered(BTC_1M, now_s, held_until_s=committed_until(BTC_1M, now_s))
    assert schedule.wait_s(now_s) == 3600


def test_a_failed_series_lets_others_go_first_and_comes_back_later_each_time() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=1)
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
    schedule = CandleSchedule(refresh_s=60, per_s=1)
    schedule.add(BTC_1D, START_S, held_until_s=None)
    near = START_S + 1000
    schedule.add(BTC_1M, near, held_until_s=near - (WINDOW - 0.1) * 60)
    assert schedule.next(near) == BTC_1M


def test_what_fell_out_of_reach_while_away_does_not_make_a_deadline() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=START_S - 100 * HOUR_S)
    assert schedule.deadline_s(BTC_1M) >= START_S


def test_a_removed_series_is_never_asked_for_again() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=1)
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
    random, schedule, now_s = Random(seed), CandleSchedule(refresh_s=60, per_s=1), START_S
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


def test_at_a_cold_start_the_shorter_timeframe_goes_first_whatever_the_order_of_adding() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=1)
    everything = [Series(pair, timeframe) for pair in "ABC" for timeframe in ("1d", "1h", "1m")]
    for series in everything:
        schedule.add(series, START_S, held_until_s=None)
    turns = []
    while (series_ := schedule.next(START_S)) is not None:
        turns.append(series_)
        schedule.answered(series_, START_S, held_until_s=START_S)
    assert [turn.timeframe for turn in turns] == ["1m"] * 3 + ["1h"] * 3 + ["1d"] * 3
    assert [turn.pair for turn in turns] == list("ABC") * 3


def test_a_near_deadline_that_must_wait_for_its_retry_does_not_hide_the_next_nearest() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=0.1)
    gone, near, other = Series("GONE/USD", "1m"), Series("NEAR/USD", "1m"), Series("OTHER/USD", "1m")
    schedule.add(other, START_S - 100, held_until_s=None)
    schedule.add(gone, START_S, held_until_s=START_S - WINDOW * 60)
    schedule.add(near, START_S, held_until_s=START_S - (WINDOW - 1) * 60)
    # A round takes half a minute, so that a deadline is near two minutes before.
    schedule.failed(gone, START_S)
    assert schedule.next(START_S + 1) == near


def test_the_slack_is_that_of_the_nearest_deadline_and_falls_as_time_passes() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=1)
    assert schedule.slack_s(START_S) == float("inf")
    schedule.add(BTC_1D, START_S, held_until_s=None)
    schedule.add(BTC_1M, START_S, held_until_s=START_S - 600 * 60)
    assert schedule.slack_s(START_S) == 120 * 60
    assert schedule.slack_s(START_S + 130 * 60) == -10 * 60
    schedule.answered(BTC_1M, START_S, held_until_s=START_S)
    assert schedule.slack_s(START_S) == WINDOW * 60


def test_a_clock_that_was_days_ahead_and_is_set_right_keeps_no_series_waiting() -> None:
    schedule = CandleSchedule(refresh_s=60, per_s=1)
    ahead_s = START_S + 72 * HOUR_S
    schedule.add(BTC_1M, ahead_s, held_until_s=None)
    schedule.answered(BTC_1M, ahead_s, held_until_s=START_S)
    assert schedule.next(ahead_s) is None
    assert schedule.next(START_S) == BTC_1M


def test_candles_that_the_hosts_clock_takes_for_future_ones_keep_no_series_waiting() -> None:
    schedule = CandleSchedule(refresh_s=10, per_s=1)
    schedule.add(BTC_1M, START_S, held_until_s=None)
    schedule.answered(BTC_1M, START_S, held_until_s=START_S + 1000 * HOUR_S)
    assert schedule.wait_s(START_S) == 60 + SETTLE_S


@pytest.mark.parametrize(("outage_from_h", "shared_by"), [(0.0, 1), (11.0, 1), (30.0, 1), (11.0, 3)])
def test_no_minute_candle_is_lost_in_48_hours_of_1000_pairs_at_one_request_a_second(
    outage_from_h: float, shared_by: int
) -> None:
    """From a cold start, through an hour of outage and a throttle that halves the pace again and again."""
    outcome = simulate(1000, ("1m", "1h", "1d"), outage_from_h=outage_from_h, shared_by=shared_by)
    print(report(outcome))  # noqa: T201 -- pytest -s shows it
    assert outcome.lost == 0
    assert outcome.refused > 10, "the throttle was met"
    assert outcome.worst_slack_s["1m"] > 8 * HOUR_S, "of the window of twelve hours most must be left"
    if outage_from_h > 1:
        assert [series.timeframe for series in outcome.order[:1000]] == ["1m"] * 1000
    assert outcome.latest_s["1h"] < 5 * HOUR_S, "an hour's candle is not starved by a thousand minutes'"
    assert outcome.latest_s["1d"] < 5 * HOUR_S, "nor a day's"
    assert outcome.answers["1d"] == 3000, "a day's candle is asked for once a day"


# -- how far back to ask ----------------------------------------------------------------------------------------------


class Exchange:
    """Serves the starts of one-second candles, counted from ``listed``, as REST OHLC does."""

    def __init__(self, listed: int, *, inclusive: bool) -> None:
        self.listed, self.inclusive = listed, inclusive

    def serve(self, now: int, since: int | None) -> list[int]:
        first = max(self.listed, now - WINDOW)
        if since is not None:
            first = max(first, since if self.inclusive else since + 1)
        return list(range(first, now))


@settings(max_examples=100)
@given(
    gaps=st.lists(st.sampled_from([1, 1, 1, 2, 3, 50, 300, 361, 719, 720, 721, 2000]), min_size=1, max_size=60),
    stale=st.sets(st.integers(0, 60)),
    inclusive=st.booleans(),
    listed=st.sampled_from([0, 4_500, 5_000, 5_003]),
)
def test_whatever_since_means_every_candle_that_could_be_had_is_had(
    *, gaps: list[int], stale: set[int], inclusive: bool, listed: int
) -> None:
    exchange, reach, held = Exchange(listed, inclusive=inclusive), HeldWindow(1), set[int]()
    now, reachable = 5_000, set[int]()
    for turn, gap in enumerate(gaps):
        now += gap
        for _ in range(2):  # an answer that does not continue what is held is asked for again at once
            since = reach.since_s()
            # A stale answer is one of a moment ago: repeated by the edge, or not yet brought up to date.
            starts = exchange.serve(now - (turn in stale), since)
            held.update(starts)
            whole = since is None
            if reach.take(starts[0], starts[-1] + 1, whole=whole) if starts else reach.take_none(whole=whole):
                break
        reachable.update(exchange.serve(now - (turn in stale), None))
        assert reachable <= held


@given(step=st.integers(1, 120), inclusive=st.booleans())
def test_every_candle_is_looked_at_again_before_it_slips_out_and_traffic_stays_small(
    *, step: int, inclusive: bool
) -> None:
    exchange, reach, looks, rows, asked = Exchange(0, inclusive=inclusive), HeldWindow(1), dict[int, list[int]](), 0, 0
    for now in range(5_000, 10_000, step):
        since = reach.since_s()
        starts = exchange.serve(now, since)
        assert reach.take(starts[0], starts[-1] + 1, whole=since is None)
        rows, asked = rows + len(starts), asked + 1
        for start in starts:
            looks.setdefault(start, []).append(now)
    for start in range(5_000, 9_000):
        first, *later = looks[start]
        assert first <= start + step
        assert later
        # The last look is in the second half of its time in the window: what was revised before it was seen.
        assert later[-1] - start > WINDOW - WHOLE_EVERY - step
    assert rows <= asked * (step + OVERLAP + 1) + (5_000 / (WHOLE_EVERY - 2 * step) + 2) * WINDOW


@pytest.mark.parametrize(
    ("first", "until"), [(5_001, 5_002), (4_000, 4_999), (9_000, 9_100)], ids=["gap", "back in time", "far ahead"]
)
def test_an_answer_that_does_not_continue_what_is_held_makes_it_ask_for_all(first: int, until: int) -> None:
    reach = HeldWindow(1)
    assert reach.take(4_300, 5_000, whole=True)
    assert reach.since_s() == 5_000 - 1 - OVERLAP
    assert not reach.take(first, until, whole=False)
    assert (reach.until_s, reach.since_s()) == (5_000, None)
    assert reach.take(4_303, 5_003, whole=True)
    assert reach.since_s() == 5_003 - 1 - OVERLAP


def test_no_candle_at_all_is_right_only_of_a_pair_that_has_never_traded() -> None:
    reach = HeldWindow(60)
    assert reach.take_none(whole=True)
    assert reach.since_s() is None
    assert reach.take(600, 660, whole=True)
    assert not reach.take_none(whole=False)
    assert reach.since_s() is None
    assert not reach.take_none(whole=True)
    assert reach.take(600, 720, whole=True)
    assert reach.since_s() == 720 - 180


def test_a_time_beyond_all_reason_is_believed_until_the_next_whole_answer() -> None:
    reach = HeldWindow(60)
    assert reach.take(600, 60 * 10**8, whole=True)
    assert not reach.take(660, 720, whole=False)
    assert reach.take(600, 720, whole=True)
    assert reach.until_s == 720
