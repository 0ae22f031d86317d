"""Nonces never go back, whatever the clock does; the counter falls with time, and never by a step back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.nonces import GREATEST, TIERS, Allowance, KeyUse

PLENTY = Allowance(1e9, 1.0)
S = 10**9


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=30))
def test_nonces_grow_whatever_the_clock_shows(clock: list[int]) -> None:
    use, issued = KeyUse(), [0]
    for now_ns in clock:
        use = use.issued(1.0, now_ns, PLENTY)
        issued.append(use.nonce)
        assert use.nonce >= now_ns
    assert issued == sorted(set(issued))


def test_there_is_no_nonce_after_the_greatest() -> None:
    with pytest.raises(OverflowError):
        KeyUse(nonce=GREATEST).issued(1.0, 5, PLENTY)


@pytest.mark.parametrize(("tier", "calls"), [("starter", 7), ("intermediate", 10), ("pro", 10)])
def test_a_tier_allows_so_many_pages_at_once_and_then_its_rate(tier: str, calls: int) -> None:
    allowance = TIERS[tier]  # type: ignore[index]
    use = KeyUse()
    for _ in range(calls):
        assert use.wait_s(2.0, S, allowance) == 0
        use = use.issued(2.0, S, allowance)
    wait_s = use.wait_s(2.0, S, allowance)
    assert wait_s == pytest.approx((use.counter + 2 - allowance.most) / allowance.per_s)
    assert use.wait_s(2.0, S + int((wait_s + 0.001) * S), allowance) == 0
    assert use.wait_s(2.0, S // 2, allowance) == wait_s, "a clock that was set back earns nothing"
    assert use.throttled(S, allowance).wait_s(1.0, S, allowance) == pytest.approx(1 / allowance.per_s)
