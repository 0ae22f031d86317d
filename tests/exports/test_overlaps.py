"""Which rows of sessions count that were under way at once, however they are cut into batches."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from recorder.exports.overlaps import OneSession


@pytest.mark.parametrize("seed", range(20))
def test_an_earlier_session_counts_until_it_ends(seed: int) -> None:
    random = Random(seed)
    rows: list[tuple[int, int]] = []
    for begin in sorted(random.sample(range(100), 5)):
        times = sorted(random.choices(range(begin, begin + random.choice([5, 60])), k=random.randrange(1, 12)))
        rows += [(begin, time) for time in times]
    expected = [all(time > other for earlier, other in rows if earlier < begin) for begin, time in rows]
    one = OneSession()
    found: list[bool] = []
    at = 0
    while at < len(rows):
        batch = rows[at : at + random.randrange(4)]
        at += len(batch)
        session, received_us = (np.array([row[n] for row in batch], np.int64) for n in (0, 1))
        found += one.choose(session, received_us).tolist()
    assert found == expected
    assert one.left_out == expected.count(False)
