from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.clock_steps import BOUND_S, ClockSteps

WALL_S = 1_783_465_205
LOOKS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=20)
"""How long after the last look each came, how long it took, and where within it the wall clock was read."""


def told(
    looks: list[tuple[float, float, float]], *, slew: float = 0.0, step: tuple[int, float] = (0, 0.0)
) -> list[float]:
    """What is told of each look. ``step`` comes before the look of that number; ``slew`` is gained each second."""
    steps, now_s, said = ClockSteps(), 0.0, []
    for number, (after_s, takes_s, part) in enumerate(looks):
        now_s += after_s
        read_s = now_s + takes_s * part
        wall_s = WALL_S + read_s * (1 + slew) + (step[1] if number >= step[0] else 0.0)
        said.append(steps.measure(now_s, round(wall_s * 1e9), now_s + takes_s))
        now_s += takes_s
    return said


@given(looks=LOOKS, slew=st.floats(-500e-6, 500e-6))
def test_neither_slewing_nor_a_process_that_was_halted_is_a_step(
    looks: list[tuple[float, float, float]], slew: float
) -> None:
    assert told(looks, slew=slew) == [0.0] * len(looks)


@pytest.mark.parametrize("step_s", [-86_400.0, -3600.0, -1.0, 1.0, 3600.0, 86_400.0, 31_536_000.0])
def test_a_step_is_told_once_with_its_length(step_s: float) -> None:
    said = told([(5.0, 1e-5, 0.5)] * 6, step=(3, step_s))
    assert said == [0.0, 0.0, 0.0, pytest.approx(step_s, abs=1e-4), 0.0, 0.0]


def test_what_is_smaller_than_the_bound_is_none() -> None:
    assert told([(5.0, 0.0, 0.0)] * 3, step=(1, BOUND_S * 0.99)) == [0.0, 0.0, 0.0]


def test_a_look_that_took_long_tells_a_step_that_was_longer() -> None:
    assert told([(5.0, 0.0, 0.0), (5.0, 60.0, 0.9)], step=(1, 3600.0))[1] == pytest.approx(3600.0, abs=31)
    assert told([(5.0, 0.0, 0.0), (5.0, 60.0, 0.1)], step=(1, 30.0))[1] == 0.0
