from __future__ import annotations

import numpy as np

from recorder.exports.local_times import UNKNOWN, LocalTimes


def test_local_times_never_fall_and_say_what_was_changed() -> None:
    times = LocalTimes()
    first = times.of(np.array([10, 20, 30, 40]), np.array([12, UNKNOWN, 50, 45]))
    assert first.tolist() == [12, 20, 50, 50]
    assert times.of(np.array([60, 41]), np.array([61, UNKNOWN])).tolist() == [61, 61]
    assert times.facts() == {"rows_without_receive_time": 2, "receive_times_raised": 1}
    assert times.of(np.array([], np.int64), np.array([], np.int64)).tolist() == []


def test_a_shift_moves_receive_times_and_not_those_of_the_exchange() -> None:
    times = LocalTimes(shift_us=5)
    assert times.of(np.array([10, 20]), np.array([5, UNKNOWN])).tolist() == [10, 20]
    assert times.facts() == {"rows_without_receive_time": 1}
