from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.model import SessionPart
from recorder.core.session_parts import joined


def frame(session: int, message: int) -> SessionPart:
    return SessionPart("A/B", session, message, message, 1, message, message, None, message)


def end(session: int, messages: int) -> SessionPart:
    return SessionPart("A/B", session, None, messages - 1, 0, None, None, messages + 5, messages + 9)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 20), max_size=4))
def test_parts_of_a_session_are_one_however_they_are_joined(cuts: list[int]) -> None:
    parts = [*(frame(7, number) for number in range(20) if number != 3), end(7, 21)]
    bounds = [0, *sorted(cuts), len(parts)]
    pieces = [one for low, high in itertools.pairwise(bounds) for one in joined(parts[low:high])]
    assert joined(pieces) == joined(parts) == [whole()]


def whole() -> SessionPart:
    return SessionPart("A/B", 7, 0, 20, 19, 0, 19, 26, 30)


def test_sessions_and_pairs_stay_apart_and_an_end_alone_tells_of_no_frame() -> None:
    other = SessionPart("C/D", 7, 0, 0, 1, 5, 5, None, 5)
    assert joined([frame(7, 0), other, frame(8, 0)]) == [frame(7, 0), other, frame(8, 0)]
    assert joined([end(7, 4)]) == [SessionPart("A/B", 7, None, 3, 0, None, None, 9, 13)]
