from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.evidence import Confirmed, Disowned, Knowledge, Reclaimed, Unreadable, Void
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.ledger_difference import LedgerClaims
from recorder.core.trade_ids import Run, Span, Spans

PAIR = "BTC/USD"


def time_of(trade_id: int) -> int:
    return 1_783_465_205_000_000 + trade_id // 3


def run(first: int, last: int) -> Run:
    return Run(PAIR, Span(first, last), time_of(first), time_of(last))


@st.composite
def a_span(draw: st.DrawFn) -> Span:
    first = draw(st.integers(1, 60))
    return Span(first, first + draw(st.integers(0, 9)))


@st.composite
def a_claim(draw: st.DrawFn) -> Run | Knowledge:
    span = draw(a_span())
    kinds: list[Run | Knowledge] = [
        run(span.first, span.last),
        Void(PAIR, span),
        Confirmed(PAIR, span.last, span.first),
        Unreadable(PAIR, span),
        Disowned(PAIR, span, draw(st.integers(0, 3)), "disowned"),
        Reclaimed(PAIR, span, draw(st.integers(0, 3))),
    ]
    return draw(st.sampled_from(kinds))


def account_of(claims: list[Run | Knowledge]) -> PairLedger:
    account = PairLedger(PAIR)
    for claim in claims:
        if isinstance(claim, Run):
            account.observe(claim)
    for claim in claims:
        if not isinstance(claim, Run):
            account.know(claim)
    return account


def assert_same(one: PairLedger, other: PairLedger) -> None:
    assert one.runs() == other.runs()
    assert one.void == other.void
    assert one.disowned == other.disowned
    assert one.unreadable == other.unreadable
    assert one.gaps() == other.gaps()
    until_us = [None if account.confirmed is None else account.confirmed.until_us for account in (one, other)]
    assert until_us[0] == until_us[1]


claims = st.lists(a_claim(), max_size=12)


@given(claims, claims)
def test_what_one_account_claims_beyond_another_is_nothing_more_and_nothing_less(
    ours: list[Run | Knowledge], theirs: list[Run | Knowledge]
) -> None:
    one, other = account_of(ours), account_of(theirs)
    beyond = LedgerClaims.of(one).difference(LedgerClaims.of(other))
    for trade_id in range(1, 80):
        assert (trade_id in beyond.held) == (
            trade_id in one.spans and trade_id not in other.spans and trade_id not in other.disowned
        )
        known_there = trade_id in other.void or trade_id in other.spans
        assert (trade_id in beyond.void) == (trade_id in one.void and not known_there)
        known_there = trade_id in other.unreadable or trade_id in other.spans
        assert (trade_id in beyond.unreadable) == (trade_id in one.unreadable and not known_there)
    assert not LedgerClaims.of(one).difference(LedgerClaims.of(one))


@given(claims, claims)
def test_an_account_that_grew_lacks_nothing_of_what_it_was(
    first: list[Run | Knowledge], more: list[Run | Knowledge]
) -> None:
    assert not LedgerClaims.of(account_of(first)).difference(LedgerClaims.of(account_of([*first, *more])))


@given(claims, claims, st.data())
def test_what_is_taken_back_leaves_the_account_that_the_disk_and_newer_claims_give(
    earlier: list[Run | Knowledge], newer: list[Run | Knowledge], data: st.DataObject
) -> None:
    """Whatever of it is lost, and whatever comes meanwhile: spans, void ids, and the times at all ends."""
    left = [claim for claim in earlier if data.draw(st.booleans())]
    ledger = Ledger()
    for claim in earlier:
        ledger.observe(claim) if isinstance(claim, Run) else ledger.know(claim)
    ledger.mark()
    for claim in newer:
        ledger.observe(claim) if isinstance(claim, Run) else ledger.know(claim)
    ledger.restate([account_of(left)])
    account = ledger.of(PAIR)
    assert_same(account, account_of([*left, *newer]))
    edges = {edge for span in account.spans for edge in (span.first, span.last)}
    assert all(account.time_us(edge) == time_of(edge) for edge in edges)


def test_pairs_that_are_not_restated_keep_what_they_claim() -> None:
    ledger = Ledger()
    ledger.observe(run(1, 5))
    ledger.mark()
    ledger.observe(run(6, 9))
    ledger.restate([])
    assert list(ledger.of(PAIR).spans) == [Span(1, 9)]
    ledger.restate([PairLedger(PAIR)])  # without a mark nothing is newer
    assert ledger.of(PAIR).spans == Spans()
