from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.absent_ids import AbsentIds
from recorder.core.evidence import Confirmed
from recorder.core.gaps import Gaps
from recorder.core.trade_ids import Run, Span, Spans

PAIR = "BTC/USD"
IDS = st.sets(st.integers(1, 20))


def runs(held: set[int]) -> list[Run]:
    """Return runs of trades whose ids are their times."""
    return [Run(PAIR, span, span.first, span.last) for span in Spans.of_ids(held)]


@given(IDS.filter(bool), IDS, IDS, IDS)
def test_every_id_is_held_or_absent_or_unknown_and_lies_between_its_neighbours(
    held: set[int], void: set[int], disowned: set[int], unreadable: set[int]
) -> None:
    absent = AbsentIds(*map(Spans.of_ids, (void, disowned, unreadable)))
    gaps = Gaps(PAIR, reversed(runs(held)), absent)
    assert absent.settled() == Spans.of_ids((void - unreadable) | disowned)
    unknown, nothing = [*gaps.before(), *gaps.between(), *gaps.after()], gaps.absent()
    assert unknown[-1].span.last == sys.maxsize
    for trade_id in range(1, 25):
        assert [gap for gap in nothing if trade_id in gap.span] == [] or trade_id in (
            void | disowned | unreadable
        ) - held
        beside = [gap for gap in [*unknown, *nothing] if trade_id in gap.span]
        assert len(beside) == (trade_id not in held)
        for gap in beside:
            assert gap.after_us == gaps.from_us(gap) == max((one for one in held if one < trade_id), default=None)
            assert gap.before_us == min((one for one in held if one > trade_id), default=None)
            # The owner's word counts before the exchange's, and a row before that there is none.
            state = "disowned" if trade_id in disowned else "unreadable" if trade_id in unreadable else "void"
            assert gap.state == (state if gap in nothing else "open")


def test_a_confirmation_tells_before_when_unknown_ids_were_not_made() -> None:
    said = [Confirmed(PAIR, *known) for known in ((2, 30), (3, 40), (3, 45), (3, 60), (4, 47), (8, 99))]
    held = [Run(PAIR, Span(1, 3), 10, 20), Run(PAIR, Span(7, 7), 50, 50)]
    gaps = Gaps(PAIR, held, AbsentIds(Spans([Span(4, 4)])), said)
    (inner,), (last,) = gaps.between(), gaps.after()
    # After id 3, or 4 which does not exist, none came until 47; a trade made at 50 refutes that none came until 60.
    assert (inner.span, gaps.from_us(inner)) == (Span(5, 6), 47)
    # That none came after id 8 says nothing of whether id 8 came, and when.
    assert (last.span.first, gaps.from_us(last)) == (8, 50)
    (void,) = gaps.absent()
    assert (void.span, void.after_us) == (Span(4, 4), 20)
