from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.ops.exchange_clock import KEPT, ClockOffset

START_S = 1_783_465_205


def test_nothing_is_known_before_the_first_answer() -> None:
    assert ClockOffset().offset_s is None


@given(
    ahead_s=st.floats(-500, 500),
    answers=st.lists(st.tuples(st.floats(0, 0.9), st.floats(0, 0.2), st.floats(0, 0.2)), min_size=1, max_size=2 * KEPT),
)
def test_the_true_offset_is_never_further_away_than_a_second_and_a_round_trip(
    ahead_s: float, answers: list[tuple[float, float, float]]
) -> None:
    clock = ClockOffset()
    true_s = float(START_S)
    for wait_s, there_s, back_s in answers:
        true_s += wait_s
        date_s = math.floor(true_s + there_s)
        clock.take(sent_s=true_s + ahead_s, recv_s=true_s + there_s + back_s + ahead_s, date_s=date_s)
        true_s += there_s + back_s
    assert clock.offset_s == pytest.approx(ahead_s, abs=0.5 + 0.4)


def test_answers_at_different_parts_of_a_second_tell_it_more_exactly_than_one() -> None:
    clock = ClockOffset()
    for tenth in range(30):
        true_s = START_S + tenth * 1.1
        clock.take(sent_s=true_s + 3, recv_s=true_s + 3, date_s=int(true_s))
    assert clock.offset_s == pytest.approx(3, abs=0.06)


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = ClockOffset()
    for second in range(10):
        clock.take(sent_s=START_S + second, recv_s=START_S + second + 0.1, date_s=START_S + second)
    clock.take(sent_s=START_S + 3610, recv_s=START_S + 3610.1, date_s=START_S + 10)
    assert clock.offset_s == pytest.approx(3600, abs=0.6)
