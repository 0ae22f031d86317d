from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.errors import UsageError
from recorder.sandbox.throttle import CALM_S, Throttle
from tests.clocks import ManualClock


def served(throttle: Throttle, clock: ManualClock, calls: int, *, every_s: float) -> list[bool]:
    answers = []
    for _ in range(calls):
        answers.append(throttle.allows("127.0.0.1"))
        clock.move(every_s)
    return answers


def test_a_burst_of_about_thirty_passes_and_the_next_call_is_refused(clock: ManualClock) -> None:
    answers = served(Throttle(clock), clock, 40, every_s=0.1)
    assert answers[:33] == [True] * 33
    assert answers[33] is False


def test_one_call_a_second_is_never_refused(clock: ManualClock) -> None:
    assert all(served(Throttle(clock), clock, 2000, every_s=1.0))


def test_thirty_seconds_of_silence_clear_it(clock: ManualClock) -> None:
    throttle = Throttle(clock)
    served(throttle, clock, 50, every_s=0.0)
    clock.move(30.0)
    assert all(served(throttle, clock, 30, every_s=0.0))


def test_refused_calls_cost_nothing_unless_sticky_when_only_calm_ends_it(clock: ManualClock) -> None:
    for sticky, later in ((False, True), (True, False)):
        throttle = Throttle(clock, size=1, sticky=sticky)
        assert served(throttle, clock, 20, every_s=0.5).count(True) == (10 if not sticky else 1)
        clock.move(0.5)
        assert throttle.allows("127.0.0.1") is later
    clock.move(CALM_S)
    assert throttle.allows("127.0.0.1")


def test_every_client_has_a_bucket_of_its_own(clock: ManualClock) -> None:
    throttle = Throttle(clock, size=1)
    assert [throttle.allows(client) for client in ("one", "one", "two")] == [True, False, True]
    assert throttle.refused == 1


def test_a_client_is_served_from_the_time_told_and_not_before(clock: ManualClock) -> None:
    for sticky in (False, True):
        throttle = Throttle(clock, size=1, per_s=0.25, sticky=sticky)
        served(throttle, clock, 2, every_s=0.0)
        wait_s = throttle.free_at_s("127.0.0.1") - clock.monotonic()
        assert wait_s == pytest.approx(CALM_S if sticky else 4.0)
        clock.move(wait_s + 0.001)
        assert throttle.allows("127.0.0.1")


@given(st.lists(st.floats(0, 5), max_size=200), st.floats(1, 40), st.floats(0.1, 5))
def test_never_more_pass_than_the_bucket_holds_and_gains(gaps: list[float], size: float, per_s: float) -> None:
    clock = ManualClock()
    throttle = Throttle(clock, size=size, per_s=per_s)
    passed = 0
    for gap_s in gaps:
        clock.move(gap_s)
        passed += throttle.allows("127.0.0.1")
        assert passed <= size + clock.monotonic() * per_s + 1e-6


def test_a_bucket_or_form_that_cannot_be_is_refused(clock: ManualClock) -> None:
    with pytest.raises(UsageError, match="lets nobody through"):
        Throttle(clock, size=0)
    with pytest.raises(UsageError, match="no form of refusal 'politely'; there are too_many_requests"):
        Throttle(clock, form="politely")
