from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.ids import Gap, Span
from recorder.core.ledger import History
from recorder.core.plan import SHORT, is_history, plan


def test_the_newest_hole_of_any_pair_is_filled_first() -> None:
    old = Gap("BTC/USD", Span(5, 6), after_us=10, before_us=20)
    newer = Gap("ETH/USD", Span(900, 901), after_us=15, before_us=40)
    newest = Gap("BTC/USD", Span(50, 60), after_us=30, before_us=90)
    assert plan([old, newest, newer]) == [newest, newer, old]


def test_a_short_hole_never_waits_for_a_long_one_nor_a_long_one_for_history() -> None:
    short = Gap("BTC/USD", Span(1, SHORT), after_us=0, before_us=1)
    long = Gap("ETH/USD", Span(1, SHORT + 1), after_us=0, before_us=80)
    history = History("XRP/USD", from_us=0, before_id=9, before_us=100)
    assert plan([long, short], [history]) == [short, long, history]
    assert [is_history(work) for work in (short, long, history)] == [False, True, True]


@given(st.permutations([History("A/B", 0, 9, when) for when in (5, 1, 3)]))
def test_the_newest_history_comes_first(histories: list[History]) -> None:
    assert [history.before_us for history in plan([], histories) if isinstance(history, History)] == [5, 3, 1]
