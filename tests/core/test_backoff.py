from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.backoff import (
    FIRST_CEILING_S,
    HEALTHY_S,
    LAST_CEILING_S,
    WINDOW_ATTEMPTS,
    WINDOW_S,
    Backoff,
    ceiling_s,
    session_healthy,
)

ROUNDING_S = 1e-6


def attempts(backoff: Backoff, lasting_s: list[float], *, subscribed: bool = True) -> list[float]:
    """Simulate one session after the other, each so long; return when each was attempted."""
    now_s, made = 1_000.0, []
    for lasted_s in lasting_s:
        made.append(now_s)
        backoff.attempted(now_s)
        now_s += lasted_s
        backoff.ended(healthy=session_healthy(lasted_s, subscribed=subscribed))
        now_s += backoff.delay_s(now_s)
    return made


def most_in_a_window(made: list[float]) -> int:
    return max(sum(1 for moment in made if start <= moment < start + WINDOW_S - ROUNDING_S) for start in made)


@given(st.integers(0, 2**40))
def test_the_ceiling_doubles_from_a_second_and_stays_below_thirty(failures: int) -> None:
    assert FIRST_CEILING_S <= ceiling_s(failures) <= LAST_CEILING_S
    assert ceiling_s(failures) <= ceiling_s(failures + 1)


def test_the_ceilings_are_one_two_four_and_so_on() -> None:
    assert [ceiling_s(failures) for failures in range(8)] == [1, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(0, 2**32), st.lists(st.booleans(), max_size=60))
def test_a_wait_is_never_above_its_ceiling_while_attempts_are_few(seed: int, healthy: list[bool]) -> None:
    backoff, failures = Backoff(Random(seed)), 0
    for each in healthy:
        backoff.attempted(0.0)
        backoff.ended(healthy=each)
        failures = 1 if each else failures + 1
        assert 0.0 <= backoff.delay_s(0.0) <= ceiling_s(failures)


@given(st.integers(0, 2**32))
def test_the_first_retry_comes_within_a_second(seed: int) -> None:
    backoff = Backoff(Random(seed))
    backoff.attempted(0.0)
    backoff.ended(healthy=False)
    assert backoff.delay_s(0.0) <= 1.0


@given(st.integers(0, 2**32), st.lists(st.floats(0, 45), min_size=1, max_size=400))
def test_no_ten_minutes_ever_see_more_than_a_hundred_attempts(seed: int, lasting_s: list[float]) -> None:
    assert most_in_a_window(attempts(Backoff(Random(seed)), lasting_s)) <= WINDOW_ATTEMPTS


@pytest.mark.parametrize("seed", range(5))
def test_a_server_that_accepts_and_closes_is_not_stormed(seed: int) -> None:
    made = attempts(Backoff(Random(seed)), [0.01] * 200)
    assert sum(1 for moment in made if moment < made[0] + 60) <= 25
    assert most_in_a_window(made) <= WINDOW_ATTEMPTS


class NoJitter(Random):
    """The unluckiest dice: every wait is as short as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def test_even_the_unluckiest_jitter_keeps_within_the_window() -> None:
    assert most_in_a_window(attempts(Backoff(NoJitter()), [0.001] * 450)) == WINDOW_ATTEMPTS


def test_only_a_subscribed_session_that_lasted_is_healthy() -> None:
    assert session_healthy(HEALTHY_S, subscribed=True)
    assert not session_healthy(HEALTHY_S - 0.1, subscribed=True)
    assert not session_healthy(3600.0, subscribed=False)


def test_a_healthy_session_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(Random(1))
    for _ in range(9):
        backoff.ended(healthy=False)
    backoff.ended(healthy=True)
    assert all(backoff.delay_s(0.0) <= FIRST_CEILING_S for _ in range(100))
