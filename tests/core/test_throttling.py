from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.throttling import (
    FIRST_PAUSE_S,
    LAST_PAUSE_S,
    LONGEST_PAUSE_S,
    RECOVERY_PER_S,
    SLOWEST_PER_S,
    WHOLE_WITHIN_S,
    Pace,
    Paces,
)


def send(pace: Pace, now_s: float) -> float:
    """Wait for a place as a client does; return when the request goes out."""
    while (wait_s := pace.claim(now_s)) > 0:
        now_s += wait_s
    return now_s


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40),  # seconds of doing something else
        st.sampled_from(["answered", "answered", "answered", "throttled", "late throttled"]),
        st.none() | st.floats(0, 200),
    ),
    max_size=60,
)


@given(st.floats(0.01, 50), EVENTS)
def test_no_request_leaves_during_a_pause_and_the_rate_never_passes_the_one_wished(
    wished_per_s: float, events: list[tuple[float, str, float | None]]
) -> None:
    pace, now_s, paused_until_s, sent = Pace(wished_per_s), 0.0, -1.0, []
    for idle_s, event, retry_after_s in events:
        now_s = send(pace, now_s + idle_s)
        assert now_s >= paused_until_s - 1e-9
        sent.append(now_s)
        if event == "answered":
            pace.answered(now_s)
        else:
            pause_s = pace.throttled(now_s, retry_after_s=retry_after_s)
            assert pause_s >= max(FIRST_PAUSE_S, retry_after_s or 0.0) - 1e-6
            paused_until_s = now_s + pause_s
            if event == "late throttled":  # the answer to a second request that was under way
                paused_until_s = now_s + 1 + pace.throttled(now_s + 1, retry_after_s=retry_after_s)
        assert 0 < pace.per_s <= wished_per_s
    for first, start_s in enumerate(sent):
        for count, moment_s in enumerate(sent[first:], start=1):
            # One place is in hand at the start, and one more is made good after a late wake.
            assert count <= (moment_s - start_s) * wished_per_s * (1 + 1e-9) + 2 + 1e-6


@given(st.floats(0.1, 100), st.integers(2, 300))
def test_a_client_that_always_waits_reaches_the_rate_wished(wished_per_s: float, requests: int) -> None:
    pace, now_s = Pace(wished_per_s), 0.0
    for _ in range(requests):
        now_s = send(pace, now_s)
    assert now_s == pytest.approx((requests - 1) / wished_per_s)


def test_sleeps_that_wake_late_do_not_slow_the_pace_down() -> None:
    pace, now_s = Pace(10.0), 0.0
    for _ in range(101):
        now_s = send(pace, now_s) + 0.03
    assert now_s == pytest.approx(10.0, abs=0.2)


def test_a_long_rest_does_not_buy_a_burst() -> None:
    pace = Pace(1.0)
    send(pace, 0.0)
    now_s = 1_000.0
    moments = [now_s := send(pace, now_s) for _ in range(4)]
    assert moments == [1_000.0, 1_001.0, 1_002.0, 1_003.0]


def test_a_refusal_halves_the_pace_down_to_the_slowest_and_no_further() -> None:
    pace, now_s = Pace(1.0), 0.0
    paces = []
    for _ in range(8):
        now_s += pace.throttled(now_s)
        paces.append(pace.per_s)
    assert paces == [1 / 2, 1 / 4, 1 / 8, 1 / 16, SLOWEST_PER_S, SLOWEST_PER_S, SLOWEST_PER_S, SLOWEST_PER_S]


def test_a_wish_slower_than_the_slowest_is_kept() -> None:
    pace = Pace(0.01)
    pace.throttled(0.0)
    assert pace.per_s == 0.01


def test_pauses_double_in_a_row_up_to_a_minute_and_start_short_after_an_answer() -> None:
    pace, now_s, pauses = Pace(1.0), 0.0, []
    for _ in range(6):
        pauses.append(pace.throttled(now_s))
        now_s += pauses[-1]
    assert pauses == [5, 10, 20, 40, LAST_PAUSE_S, LAST_PAUSE_S]
    pace.answered(now_s)
    assert pace.throttled(now_s) == FIRST_PAUSE_S


def test_an_answer_under_way_when_the_pause_began_does_not_shorten_the_next() -> None:
    pace = Pace(1.0)
    pause_s = pace.throttled(0.0)
    pace.answered(0.5)
    assert pace.throttled(pause_s) == 2 * FIRST_PAUSE_S


def test_several_refusals_of_requests_under_way_are_one() -> None:
    pace = Pace(1.0)
    assert pace.throttled(0.0) == FIRST_PAUSE_S
    assert pace.throttled(1.0) == FIRST_PAUSE_S - 1.0
    assert pace.per_s == 0.5


def test_a_refusal_during_a_pause_that_asks_for_more_gets_it() -> None:
    pace = Pace(1.0)
    pace.throttled(0.0)
    assert pace.throttled(1.0, retry_after_s=120.0) == 120.0
    assert pace.claim(100.0) == 21.0


def test_a_pause_asked_for_is_believed_up_to_a_quarter_of_an_hour() -> None:
    assert Pace(1.0).throttled(0.0, retry_after_s=30.0) == 30.0
    assert Pace(1.0).throttled(0.0, retry_after_s=float("inf")) == LONGEST_PAUSE_S


def test_calm_wins_the_pace_back_within_five_minutes() -> None:
    pace = Pace(2.0)
    now_s = pace.throttled(0.0)
    assert pace.per_s == 1.0
    send(pace, now_s + 0.25 / RECOVERY_PER_S)
    assert pace.per_s == pytest.approx(1.5)
    send(pace, now_s + 1 / RECOVERY_PER_S)
    assert pace.per_s == 2.0


def test_a_new_rate_holds_from_the_next_request_and_recovery_aims_at_it() -> None:
    pace = Pace(1.0)
    pace.set_rate(4.0)
    assert pace.per_s == 4.0
    now_s = send(pace, send(pace, 0.0))
    assert now_s == 0.25
    now_s += pace.throttled(now_s)
    pace.set_rate(8.0)
    assert pace.per_s == 2.0, "what was refused is not asked for again at once"
    send(pace, now_s + 1 / RECOVERY_PER_S)
    assert pace.per_s == 8.0
    pace.throttled(now_s + 1000)
    pace.set_rate(1.0)
    assert pace.per_s == 1.0


@pytest.mark.parametrize("impossible", [0.0, -1.0])
def test_a_pace_of_nothing_is_refused(impossible: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Pace(impossible)
    with pytest.raises(ValueError, match="above zero"):
        Pace(1.0).set_rate(impossible)


def test_a_hold_stops_everything_for_a_bounded_while_and_leaves_the_pace_alone() -> None:
    pace = Pace(2.0)
    assert pace.pause(10.0, 600.0) == 600.0
    assert pace.pause(20.0, 5.0) == 590.0, "never shortened"
    assert (pace.wait_s(20.0), pace.paused_s(20.0), pace.per_s) == (590.0, 590.0, 2.0)
    assert pace.pause(700.0, 1e9) == LONGEST_PAUSE_S
    assert send(pace, 700.0) == 700.0 + LONGEST_PAUSE_S


def test_a_path_that_is_refused_waits_by_itself_ever_longer_and_at_half_the_pace() -> None:
    paces = Paces(Pace(2.0))
    assert paces.refused("/a", 0.0, retry_after_s=None) == (FIRST_PAUSE_S, False)
    assert paces.claim("/a", 0.0) == FIRST_PAUSE_S
    assert paces.claim("/b", 0.0) == 0.0
    assert (paces.per_s("/a"), paces.per_s("/b"), paces.whole.per_s) == (1.0, 2.0, 2.0)
    assert paces.refused("/a", 100.0, retry_after_s=None) == (2 * FIRST_PAUSE_S, False)
    paces.answered("/a", 200.0)
    assert paces.refused("/a", 200.0, retry_after_s=7.0) == (7.0, False)
    assert (paces.paused_s(201.0), paces.path_wait_s("/b", 201.0)) == (6.0, 0.0)


@pytest.mark.parametrize(("apart_s", "whole"), [(WHOLE_WITHIN_S, True), (WHOLE_WITHIN_S + 1, False)])
def test_a_second_path_refused_within_a_minute_stops_everything_for_the_longer_of_both(
    apart_s: float,
    whole: bool,  # noqa: FBT001
) -> None:
    paces = Paces(Pace(2.0))
    paces.refused("/a", 0.0, retry_after_s=300.0)
    assert paces.refused("/b", apart_s, retry_after_s=10.0) == ((300.0 - apart_s) if whole else 10.0, whole)
    assert paces.claim("/c", apart_s) == ((300.0 - apart_s) if whole else 0.0)
