"""The ledger of a pair with rows from history files."""

from __future__ import annotations

from recorder.core.evidence import Anchored, Joined, Promised
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.trade_ids import Run, Span, Spans

PAIR = "BTC/USD"


def run(first: int, last: int) -> Run:
    return Run(PAIR, Span(first, last), first * 1_000, last * 1_000)


def ledger(*held: Run, imported: Spans) -> Ledger:
    made = Ledger()
    made.observe_all(held)
    made.observe_imported(PAIR, imported)
    return made


def test_imported_ids_alone_promise_nothing_and_lack_nothing() -> None:
    made = ledger(run(10, 20), run(50, 60), imported=Spans([Span(10, 20), Span(50, 60)]))
    account = made.of(PAIR)
    assert (account.promise, account.newest(), account.gaps(), account.complete_until_us()) == (None, None, (), None)
    assert made.history(PAIR, 0) is None


def test_history_is_wanted_below_what_the_exchange_sent_and_leaves_out_imported_ids() -> None:
    made = ledger(run(10, 20), run(100, 110), imported=Spans([Span(10, 20)]))
    wanted = made.history(PAIR, 0)
    assert wanted is not None
    assert wanted.before_id == 100
    made.observe(run(1, 5))  # once its first page is there, the rest is a gap
    assert [gap.span for gap in made.of(PAIR).gaps()] == [Span(6, 9), Span(21, 99)]


def test_imported_ids_that_join_recorded_ones_count_as_they_do() -> None:
    made = ledger(run(90, 110), imported=Spans([Span(90, 99), Span(105, 110)]))
    assert made.of(PAIR).newest() == (110, 110_000)
    wanted = made.history(PAIR, 0)
    assert wanted is not None
    assert wanted.before_id == 90


def test_above_the_anchor_everything_stored_counts() -> None:
    made = ledger(run(10, 20), run(60, 70), imported=Spans([Span(10, 20), Span(60, 70)]))
    account = made.of(PAIR)
    account.know(Promised(PAIR, 40_000))
    assert account.newest() is None
    account.know(Anchored(PAIR, 40_000, 40))
    assert [gap.span for gap in account.gaps()] == [Span(41, 59)]
    assert account.newest() == (70, 70_000)


def test_joined_ids_are_gaps_and_history_is_wanted_only_below_them() -> None:
    made = ledger(run(10, 20), run(50, 60), run(100, 110), imported=Spans([Span(10, 20), Span(50, 60)]))
    account = made.of(PAIR)
    assert [gap.span for gap in account.history_gaps()] == [Span(21, 49), Span(61, 99)]
    made.know(Joined(PAIR, 49, 1))
    assert [gap.span for gap in account.gaps()] == [Span(61, 99)]
    assert [gap.span for gap in account.history_gaps()] == [Span(21, 49)]
    wanted = made.history(PAIR, 0)
    assert wanted is not None
    assert wanted.before_id == 50
    made.know(Joined(PAIR, 9, 2))
    assert [gap.span for gap in account.gaps()] == [Span(21, 49), Span(61, 99)]
    assert account.history_gaps() == []
    assert account.newest() == (110, 110_000)


def test_ids_joined_before_anything_was_recorded_are_gaps_once_it_is() -> None:
    made = ledger(run(10, 20), imported=Spans([Span(10, 20)]))
    made.know(Joined(PAIR, 9, 1))
    assert (made.of(PAIR).gaps(), made.of(PAIR).newest(), made.history(PAIR, 0)) == ((), None, None)
    made.observe(run(100, 110))
    assert [gap.span for gap in made.of(PAIR).gaps()] == [Span(21, 99)]


def test_what_was_imported_while_a_pair_was_read_anew_is_kept() -> None:
    made = ledger(run(100, 110), imported=Spans())
    made.mark()
    made.observe_imported(PAIR, Spans([Span(10, 20)]))
    made.observe(run(10, 20))
    anew = PairLedger(PAIR)
    anew.observe(run(100, 110))
    made.restate([anew])
    assert made.of(PAIR).spans == Spans([Span(10, 20), Span(100, 110)])
    assert made.of(PAIR).gaps() == ()
