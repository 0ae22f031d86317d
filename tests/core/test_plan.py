from __future__ import annotations

from recorder.core.ledger import Hole
from recorder.core.model import Span
from recorder.core.plan import newest_first


def test_the_newest_hole_of_any_pair_is_filled_first() -> None:
    old = Hole("BTC/USD", Span(5, 6), after_us=10, before_us=20)
    newer = Hole("ETH/USD", Span(900, 901), after_us=15, before_us=40)
    newest = Hole("BTC/USD", Span(50, 60), after_us=30, before_us=90)
    assert newest_first([old, newest, newer]) == [newest, newer, old]
