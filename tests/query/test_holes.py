from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.schema import HeldSpan
from recorder.core.model import Span
from recorder.core.spans import Spans
from recorder.query.asked import Range
from recorder.query.holes import joined, missing_in, sentence

ALWAYS = Range(None, None)


def span(first: int, last: int) -> HeldSpan:
    """Return a run in which trade n happens at 10 n µs."""
    return HeldSpan(first, last, 10 * first, 10 * last)


def test_runs_that_touch_are_one_with_the_times_of_its_ends() -> None:
    assert joined([span(7, 9), span(1, 3), span(4, 6), span(11, 12)]) == (span(1, 9), span(11, 12))


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9))))
def test_joined_is_the_union_of_ids_even_where_runs_overlap(runs: list[tuple[int, int]]) -> None:
    together = joined(span(first, first + more) for first, more in runs)
    expected = Spans(Span(first, first + more) for first, more in runs)
    assert together == tuple(span(held.first, held.last) for held in expected)


def test_between_two_runs_something_is_missing_whenever_it_may_lie_in_the_range() -> None:
    runs = [span(1, 3), span(7, 9)]  # held until 30 µs and from 70 µs on
    hole = HeldSpan(4, 6, 30, 70)
    for start_us, stop_us, touched in [
        (None, None, True),
        (None, 30, False),  # up to the trade at 30, which is not in the range
        (None, 31, True),  # a missing trade may share the time of its neighbour
        (70, None, True),
        (71, None, False),
        (40, 50, True),
        (0, 20, False),
    ]:
        assert missing_in(runs, Range(start_us, stop_us)) == ([hole] if touched else []), (start_us, stop_us)


def test_before_the_first_run_only_a_range_that_begins_there_asks_for_it() -> None:
    runs = [span(5, 9)]
    assert missing_in(runs, ALWAYS) == []
    assert missing_in(runs, Range(20, None)) == [HeldSpan(1, 4, 20, 50)]
    assert missing_in(runs, Range(51, None)) == []
    assert missing_in([span(1, 9)], Range(0, None)) == []


def test_after_the_last_run_nothing_is_known_to_be_missing() -> None:
    assert missing_in([span(1, 9)], Range(None, 10_000)) == []
    assert missing_in([], Range(0, 10_000)) == []


def test_the_sentence_counts_what_is_missing_and_says_what_to_do() -> None:
    text = sentence("BTC/USD", [HeldSpan(10 * n, 10 * n + 4, 0, 1_000_000) for n in range(1, 6)])
    assert text.startswith("trades of BTC/USD in this range are not archived, 25 in all (ids 10 to 14 between ")
    assert "1970-01-01T00:00:00.000000Z and 1970-01-01T00:00:01.000000Z" in text
    assert "and 2 more holes" in text
    assert text.count("ids ") == 3
    assert "on_gap='warn' or 'ignore'" in text
    assert "1 in all (id 7 between" in sentence("BTC/USD", [HeldSpan(7, 7, 0, 1)])


@pytest.mark.parametrize("runs", [[], [span(1, 9)]])
def test_where_no_id_is_missing_there_is_no_hole(runs: list[HeldSpan]) -> None:
    assert missing_in(runs, ALWAYS) == []
