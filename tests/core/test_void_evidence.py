from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.trade_ids import Span
from recorder.core.void_evidence import APART_S, REMEMBERED, VoidEvidence

PAIR = "BTC/USD"


def test_it_takes_two_answers_some_minutes_apart() -> None:
    evidence = VoidEvidence()
    assert evidence.due_s(PAIR, Span(5, 6), 0.0) is None
    assert evidence.skipped(PAIR, [Span(5, 6)], 0.0) == []
    assert evidence.skipped(PAIR, [Span(5, 6)], APART_S - 1) == []
    assert evidence.due_s(PAIR, Span(6, 9), APART_S - 1) == 1.0
    assert evidence.skipped("ETH/USD", [Span(5, 6)], APART_S) == []
    assert evidence.skipped(PAIR, [Span(6, 9)], APART_S + 2) == [(Span(6, 6), APART_S + 2)]
    assert evidence.skipped(PAIR, [Span(5, 6)], APART_S + 3) == [(Span(5, 5), APART_S + 3)]


@st.composite
def answers(draw: st.DrawFn) -> list[tuple[float, Span]]:
    steps = draw(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 30), st.integers(0, 8)), max_size=30))
    now_s, told = 0.0, []
    for wait_s, first, more in steps:
        now_s += wait_s
        told.append((now_s, Span(first, first + more)))
    return told


@given(answers())
def test_an_id_is_void_exactly_when_two_answers_so_far_apart_stepped_over_it(told: list[tuple[float, Span]]) -> None:
    evidence, proven, first_seen = VoidEvidence(), set[int](), dict[int, float]()
    for now_s, span in told:
        expected = set()
        for trade_id in range(span.first, span.last + 1):
            if trade_id not in first_seen:
                first_seen[trade_id] = now_s
            elif now_s - first_seen[trade_id] >= APART_S:
                expected.add(trade_id)
                del first_seen[trade_id]  # proven, so no longer in question; only a new pair of answers counts
        answers = evidence.skipped(PAIR, [span], now_s)
        assert all(apart_s >= APART_S for _, apart_s in answers)
        found = {i for part, _ in answers for i in range(part.first, part.last + 1)}
        assert found == expected
        proven |= found


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    evidence, half = VoidEvidence(), REMEMBERED // 2
    single = [Span(3 * index + 1, 3 * index + 1) for index in range(REMEMBERED + 5)]
    for now_s, part in enumerate((single[:5], single[5 : 5 + half], single[5 + half :])):
        assert evidence.skipped(PAIR, part, float(now_s)) == []
    assert evidence.skipped(PAIR, single[:5], 2 * APART_S) == []
    assert [part for part, _ in evidence.skipped(PAIR, single[-5:], 2 * APART_S)] == single[-5:]


def test_tens_of_thousands_of_spans_are_proven_by_two_answers() -> None:
    evidence = VoidEvidence()
    single = [Span(3 * index + 1, 3 * index + 1) for index in range(60_000)]
    assert evidence.skipped(PAIR, single, 0.0) == []
    assert evidence.skipped(PAIR, single, APART_S) == [(part, APART_S) for part in single]
    assert evidence.skipped(PAIR, single, APART_S + 1) == []
