from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.ledger import History
from recorder.core.repair_planning import SHORT, TOGETHER, Fill, best_page, is_history, plan
from recorder.core.trade_ids import Gap, Span, Spans


def fill(*gaps: Gap) -> Fill:
    return Fill(gaps[0].pair, gaps)


def test_the_gaps_of_a_pair_are_filled_together_and_the_pair_with_the_newest_first() -> None:
    old = Gap("BTC/USD", Span(5, 6), after_us=10, before_us=20)
    newer = Gap("ETH/USD", Span(900, 901), after_us=15, before_us=40)
    newest = Gap("BTC/USD", Span(50, 60), after_us=30, before_us=90)
    assert plan([[old, newest], [newer], []]) == [fill(old, newest), fill(newer)]
    assert plan([[old], [newer]]) == [fill(newer), fill(old)]


def test_a_short_gap_never_waits_for_a_long_one_nor_a_long_one_for_history() -> None:
    short = Gap("BTC/USD", Span(1, SHORT), after_us=0, before_us=1)
    other = Gap("ETH/USD", Span(1, 2), after_us=0, before_us=1)
    long = Gap("ETH/USD", Span(4, SHORT + 4), after_us=0, before_us=80)
    longer = Gap("ETH/USD", Span(SHORT + 6, 3 * SHORT), after_us=90, before_us=95)
    history = History("XRP/USD", from_us=0, before_id=9, before_us=100)
    works = plan([[short], [other, long, longer]], [history])
    assert works == [fill(short), fill(other), fill(longer), fill(long), history]
    assert [is_history(work) for work in works] == [False, False, True, True, True]


def test_of_very_many_gaps_the_newest_are_filled_first() -> None:
    gaps = [Gap("BTC/USD", Span(3 * n, 3 * n), after_us=n, before_us=n + 1) for n in range(1, 60_001)]
    assert plan([gaps]) == [fill(*gaps[-TOGETHER:])]


@given(st.permutations([History("A/B", 0, 9, when) for when in (5, 1, 3)]))
def test_the_newest_history_comes_first(histories: list[History]) -> None:
    assert [history.before_us for history in plan([], histories) if isinstance(history, History)] == [5, 3, 1]


# -- where one page closes most -------------------------------------------------------------------------------------

MISSING = st.sets(st.integers(1, 300), max_size=120).map(Spans.of_ids)


@given(MISSING, st.integers(1, 80))
def test_a_page_begins_with_a_gap_and_pages_asked_for_so_are_as_few_as_can_be(missing: Spans, rows: int) -> None:
    asked = 0
    left = missing.copy()
    while (page := best_page(left, rows)) is not None:
        assert page.first in {span.first for span in left}
        assert len(page) == rows
        left.remove(page)
        asked += 1
    assert left == Spans()
    fewest = reached = 0
    for trade_id in (i for span in missing for i in range(span.first, span.last + 1)):
        if trade_id > reached:
            fewest, reached = fewest + 1, trade_id + rows - 1
    assert asked == fewest


def test_most_comes_first_and_of_equal_pages_the_newest() -> None:
    assert best_page(Spans([Span(1, 2), Span(50, 55), Span(90, 91)]), 10) == Span(50, 59)
    assert best_page(Spans([Span(1, 2), Span(90, 91)]), 10) == Span(90, 99)
    assert best_page(Spans([Span(1, 2), Span(4, 4), Span(90, 91)]), 10) == Span(1, 10)
    assert best_page(Spans(), 10) is None


def test_a_page_within_a_long_gap_is_none_to_begin_with() -> None:
    assert best_page([Span(5, 10**15)], 1000) == Span(5, 1004)
    assert best_page([Span(1, 1), Span(500, 10**15)], 1000) == Span(1, 1000)
