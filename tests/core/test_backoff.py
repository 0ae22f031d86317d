from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.backoff import (
    FIRST_CEILING_S,
    LAST_CEILING_S,
    SPACING_S,
    WINDOW_ATTEMPTS,
    WINDOW_S,
    WORKED_S,
    Backoff,
    GrowingDelay,
    attempt,
    ceiling_s,
    next_delay_s,
    session_worked,
)

ROUNDING_S = 1e-6


def test_a_wait_doubles_up_to_its_limit_and_is_reset_by_success() -> None:
    wait = GrowingDelay(5.0, 300.0)
    assert [wait.failed() for _ in range(9)] == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    wait.reset()
    assert [wait.failed() for _ in range(2)] == [5, 10]


@pytest.mark.parametrize(("failures", "wait_s"), [(0, 5), (1, 5), (2, 10), (3, 20), (4, 30), (10**9, 30)])
def test_what_counts_failures_itself_is_told_the_same_wait(failures: int, wait_s: float) -> None:
    assert next_delay_s(failures, first_s=5.0, last_s=30.0) == wait_s


def attempts(lines: Sequence[Backoff], lasting_s: list[float], *, served: bool = True) -> list[float]:
    """Let lines of one budget hold session after session, each so long; return when they were attempted."""
    paid_ns = 0
    made: list[float] = []
    due = [(1_000.0, number) for number in range(len(lines))]
    for lasted_s in lasting_s:
        now_s, number = heapq.heappop(due)
        now_s = max([now_s, *made[-1:]])  # one at a time: whoever waits for the budget lets the others wait
        while (told := attempt(paid_ns, round(now_s * 1e9)))[0]:
            now_s += told[0] + 1e-9
        paid_ns = told[1]
        made.append(now_s)
        lines[number].ended(worked=session_worked(lasted_s, served=served))
        heapq.heappush(due, (now_s + lasted_s + lines[number].delay_s(), number))
    return made


def most_in_a_window(made: list[float]) -> int:
    return max(sum(1 for moment in made if start <= moment <= start + WINDOW_S + ROUNDING_S) for start in made)


@given(st.integers(0, 2**40))
def test_the_ceiling_doubles_from_a_second_and_stays_below_thirty(failures: int) -> None:
    assert FIRST_CEILING_S <= ceiling_s(failures) <= LAST_CEILING_S
    assert ceiling_s(failures) <= ceiling_s(failures + 1)


def test_the_ceilings_are_one_two_four_and_so_on() -> None:
    assert [ceiling_s(failures) for failures in range(8)] == [1, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(0, 2**32), st.lists(st.booleans(), max_size=60))
def test_a_wait_is_never_above_its_ceiling(seed: int, healthy: list[bool]) -> None:
    backoff, failures = Backoff(Random(seed)), 0
    for each in healthy:
        backoff.ended(worked=each)
        failures = 1 if each else failures + 1
        assert 0.0 <= backoff.delay_s() <= ceiling_s(failures)


@given(st.integers(0, 2**32))
def test_the_first_retry_comes_within_a_second(seed: int) -> None:
    backoff = Backoff(Random(seed))
    backoff.ended(worked=False)
    assert backoff.delay_s() <= 1.0


@given(st.integers(0, 2**32), st.integers(1, 9), st.lists(st.floats(0, 45), min_size=1, max_size=300))
def test_no_ten_minutes_ever_see_more_than_a_hundred_attempts_of_all_lines(
    seed: int, lines: int, lasting_s: list[float]
) -> None:
    random = Random(seed)
    assert most_in_a_window(attempts([Backoff(random) for _ in range(lines)], lasting_s)) <= WINDOW_ATTEMPTS


@pytest.mark.parametrize("seed", range(5))
def test_short_sessions_do_not_lengthen_the_pause_between_them(seed: int) -> None:
    made = attempts([Backoff(Random(seed))], [WORKED_S] * 30)
    assert all(after - before <= WORKED_S + FIRST_CEILING_S for before, after in pairwise(made))


@pytest.mark.parametrize("seed", range(5))
def test_a_server_that_accepts_and_closes_is_not_stormed(seed: int) -> None:
    made = attempts([Backoff(Random(seed))], [0.01] * 200)
    assert sum(1 for moment in made if moment < made[0] + 60) <= 25
    assert most_in_a_window(made) <= WINDOW_ATTEMPTS


def test_a_long_outage_of_many_lines_never_leaves_them_without_an_attempt_for_long() -> None:
    made = attempts([Backoff(Random(seed)) for seed in range(7)], [0.0] * 300)
    assert made[-1] - made[0] > 2 * WINDOW_S
    assert max(after - before for before, after in pairwise(made)) <= SPACING_S + ROUNDING_S
    assert most_in_a_window(made) > 0.9 * WINDOW_ATTEMPTS


def test_the_budget_delays_no_single_line_through_an_outage_of_hours() -> None:
    backoff, paid_ns, now_s = Backoff(Random(1)), 0, 0.0
    for _ in range(1000):
        wait_s, paid_ns = attempt(paid_ns, round(now_s * 1e9))
        assert wait_s == 0
        backoff.ended(worked=False)
        now_s += backoff.delay_s()
    assert now_s > 3 * 3600


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_whatever_the_clock_did_meanwhile_nobody_waits_longer_than_for_one_attempt(paid_ns: int, now_ns: int) -> None:
    wait_s, after_ns = attempt(paid_ns, now_ns)
    assert 0 <= wait_s <= SPACING_S
    assert attempt(after_ns, now_ns + int(wait_s * 1e9) + 1)[0] <= SPACING_S


class NoJitter(Random):
    """The unluckiest dice: every wait is as short as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


def test_even_the_unluckiest_jitter_keeps_within_the_window() -> None:
    assert most_in_a_window(attempts([Backoff(NoJitter())], [0.001] * 450)) == WINDOW_ATTEMPTS


def test_only_a_session_that_served_us_for_a_while_has_worked() -> None:
    assert session_worked(WORKED_S, served=True)
    assert not session_worked(WORKED_S - 0.1, served=True)
    assert not session_worked(3600.0, served=False)


def test_a_session_that_worked_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(Random(1))
    for _ in range(9):
        backoff.ended(worked=False)
    backoff.ended(worked=True)
    assert all(backoff.delay_s() <= FIRST_CEILING_S for _ in range(100))
