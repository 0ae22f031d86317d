from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.trade_ids import Run, Span, Spans, joined

IDS = st.integers(1, 60)


@st.composite
def a_span(draw: st.DrawFn) -> Span:
    first = draw(IDS)
    return Span(first, first + draw(st.integers(0, 12)))


SPANS = st.lists(a_span(), max_size=25)


def ids(spans: list[Span] | Spans) -> set[int]:
    return {trade_id for span in spans for trade_id in range(span.first, span.last + 1)}


def assert_canonical(spans: Spans) -> None:
    listed = list(spans)
    assert len(spans) == len(listed)
    assert all(low.last + 1 < high.first for low, high in itertools.pairwise(listed))


@given(SPANS)
def test_it_holds_the_ids_of_all_its_spans_as_a_set_does(added: list[Span]) -> None:
    held, expected = Spans(), set[int]()
    for span in added:
        held.add(span)
        expected |= ids([span])
        assert ids(held) == expected
        assert_canonical(held)
    assert held.count() == len(expected)
    assert (held.first, held.last) == (min(expected, default=None), max(expected, default=None))
    assert all((trade_id in held) == (trade_id in expected) for trade_id in range(80))


@given(st.lists(IDS))
def test_single_ids_in_any_order_make_the_same_spans(loose: list[int]) -> None:
    held = Spans.of_ids(loose)
    assert ids(held) == set(loose)
    assert_canonical(held)
    assert held == Spans(Span(trade_id, trade_id) for trade_id in loose)


@given(SPANS, a_span())
def test_missing_and_within_part_a_span_into_what_is_not_held_and_what_is(added: list[Span], asked: Span) -> None:
    held = Spans(added)
    assert ids(held.missing(asked)) == ids([asked]) - ids(held)
    assert ids(held.within(asked)) == ids([asked]) & ids(held)
    assert held.covers(asked) == (ids([asked]) <= ids(held))
    assert held.missing(asked) == sorted(held.missing(asked))
    assert held.within(asked) == sorted(held.within(asked))


@given(SPANS, a_span())
def test_removing_takes_out_the_ids_of_one_span_and_no_other(added: list[Span], taken: Span) -> None:
    spans = Spans(added)
    expected = ids(spans) - ids([taken])
    spans.remove(taken)
    assert ids(spans) == expected
    assert_canonical(spans)


@given(SPANS, SPANS)
def test_a_copy_goes_its_own_way_and_update_is_union(one: list[Span], other: list[Span]) -> None:
    original = Spans(one)
    copy = original.copy()
    assert copy == original
    copy.update(other)
    assert ids(copy) == ids(one) | ids(other)
    assert ids(original) == ids(one)


def test_a_span_that_runs_downwards_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="not from 5 to 4"):
        Span(5, 4)


def test_it_prints_its_spans_and_equals_nothing_else() -> None:
    held = Spans([Span(7, 9), Span(1, 3)])
    assert repr(held) == "Spans(1..3, 7..9)"
    assert held != {1, 2, 3, 7, 8, 9}
    with pytest.raises(TypeError):
        hash(held)


def run(first: int, last: int) -> Run:
    """Return a run in which trade n happens at 10 n µs."""
    return Run("BTC/USD", Span(first, last), 10 * first, 10 * last)


def test_runs_that_touch_are_one_with_the_times_of_its_ends() -> None:
    assert joined([run(7, 9), run(1, 3), run(4, 6), run(11, 12)]) == [run(1, 9), run(11, 12)]


@given(st.lists(a_span(), max_size=60))
def test_joined_is_the_union_of_ids_even_where_runs_overlap(spans: list[Span]) -> None:
    assert joined(run(span.first, span.last) for span in spans) == [run(one.first, one.last) for one in Spans(spans)]
