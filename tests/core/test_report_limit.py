from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.report_limit import KINDS, MOST, OTHERS, WINDOW_S, ReportLimit


def test_the_first_of_a_kind_are_told_and_then_how_many_more_there_were() -> None:
    limit = ReportLimit()
    assert [limit.allows("a", 0.0) for _ in range(MOST + 2)] == [True] * MOST + [False] * 2
    assert limit.allows("b", 1.0)
    assert limit.suppressed(WINDOW_S - 1) == []
    assert limit.suppressed(WINDOW_S) == [("a", 2)]
    assert limit.suppressed(WINDOW_S + 1) == [], "of a kind that was told in full there is nothing to add"
    assert limit.allows("a", WINDOW_S + 1), "and the next hour begins anew"


def test_names_from_the_wire_make_no_end_of_kinds() -> None:
    limit = ReportLimit()
    allowed = sum(limit.allows(f"kind {number}", 0.0) for number in range(10 * KINDS))
    assert allowed == KINDS + MOST
    assert limit.suppressed(WINDOW_S) == [(OTHERS, 9 * KINDS - MOST)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, WINDOW_S)), max_size=200))
def test_what_is_not_told_is_counted(script: list[tuple[str, float]]) -> None:
    limit, now_s, told, counted = ReportLimit(), 0.0, 0, 0
    for kind, wait_s in script:
        now_s += wait_s
        told += limit.allows(kind, now_s)
        counted += sum(more for _, more in limit.suppressed(now_s))
    counted += sum(more for _, more in limit.suppressed(now_s + WINDOW_S))
    assert told + counted == len(script)
