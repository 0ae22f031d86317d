from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.evidence import Anchored, Confirmed, Disowned, Promised, Unreadable, Void
from recorder.core.gaps import open_gaps
from recorder.core.ledger import History, Ledger, PairLedger
from recorder.core.model import Trade
from recorder.core.trade_ids import Gap, Run, Span, joined, runs_of


def time_of(trade_id: int) -> int:
    """Return a time that goes up with the id, now and then standing still, as trades do."""
    return 1_783_465_205_000_000 + trade_id // 3


def trade(trade_id: int, pair: str = "BTC/USD") -> Trade:
    return Trade(pair, trade_id, time_of(trade_id), Decimal(1), Decimal(1), "buy", "limit", "", "ws", None)


@st.composite
def a_span(draw: st.DrawFn) -> Span:
    first = draw(st.integers(1, 400))
    return Span(first, first + draw(st.integers(0, 15)))


def assert_right(account: PairLedger, held: set[int]) -> None:
    edges = {edge for span in account.spans for edge in (span.first, span.last)}
    assert edges == {i for i in held if i - 1 not in held or i + 1 not in held}
    assert all(account.time_us(edge) == time_of(edge) for edge in edges)
    assert account.last_us == (time_of(max(held)) if held else None)


@given(st.lists(a_span(), max_size=150))
def test_the_times_at_the_edges_are_right_whatever_the_order_of_observation(observed: list[Span]) -> None:
    account, held = PairLedger(PAIR), set[int]()
    for span in observed:
        account.observe(Run(PAIR, span, time_of(span.first), time_of(span.last)))
        held |= set(range(span.first, span.last + 1))
        assert_right(account, held)


@given(st.lists(a_span(), max_size=60))
def test_every_hole_names_what_is_missing_and_when_its_neighbours_were_made(observed: list[Span]) -> None:
    ledger, held = Ledger(), set[int]()
    for span in observed:
        ledger.observe(Run("BTC/USD", span, time_of(span.first), time_of(span.last)))
        held |= set(range(span.first, span.last + 1))
    holes = ledger.of("BTC/USD").gaps()
    for hole in holes:
        assert hole.span.first - 1 in held
        assert hole.span.last + 1 in held
        assert hole == Gap("BTC/USD", hole.span, time_of(hole.span.first - 1), time_of(hole.span.last + 1))
    missing = {i for hole in holes for i in range(hole.span.first, hole.span.last + 1)}
    assert missing == set(range(min(held, default=0), max(held, default=0))) - held


@given(st.lists(st.tuples(st.sampled_from(["BTC/USD", "ETH/USD"]), st.integers(1, 40))))
def test_trades_of_any_pair_in_any_order_are_counted_once_each(arrived: list[tuple[str, int]]) -> None:
    ledger = Ledger()
    ledger.observe_trades(trade(trade_id, pair) for pair, trade_id in arrived)
    for pair in ("BTC/USD", "ETH/USD"):
        held = {trade_id for of, trade_id in arrived if of == pair}
        assert ledger.of(pair).spans.count() == len(held)
        assert_right(ledger.of(pair), held)


@given(st.lists(st.tuples(st.sampled_from(["BTC/USD", "ETH/USD"]), st.integers(1, 12))))
def test_runs_cut_trades_without_losing_or_moving_one(arrived: list[tuple[str, int]]) -> None:
    trades = [trade(trade_id, pair) for pair, trade_id in arrived]
    cut = runs_of(trades)
    ids = [(run.pair, trade_id) for run in cut for trade_id in range(run.span.first, run.span.last + 1)]
    assert ids == arrived
    assert all((run.first_us, run.last_us) == (time_of(run.span.first), time_of(run.span.last)) for run in cut)


@given(st.lists(st.tuples(st.sampled_from(["BTC/USD", "ETH/USD"]), st.integers(1, 12))))
def test_joined_runs_claim_the_same_ids_in_fewer_runs(arrived: list[tuple[str, int]]) -> None:
    single = [run for pair, trade_id in arrived for run in runs_of([trade(trade_id, pair)])]
    fewer = joined(single)
    apart, together = Ledger(), Ledger()
    for run in single:
        apart.observe(run)
    together.observe_all(single)
    for run in fewer:
        assert (run.first_us, run.last_us) == (time_of(run.span.first), time_of(run.span.last))
    assert sum(len(run.span) for run in fewer) == len(set(arrived))
    assert len(fewer) <= len(runs_of(trade(trade_id, pair) for pair, trade_id in arrived))
    for pair in ("BTC/USD", "ETH/USD"):
        assert apart.of(pair).spans == together.of(pair).spans


def test_live_trades_do_not_pile_up_times() -> None:
    account = PairLedger(PAIR)
    for trade_id in range(1, 5_000):
        account.observe(Run(PAIR, Span(trade_id, trade_id), time_of(trade_id), time_of(trade_id)))
    assert len(account._times_us) == 2


def test_snapshots_of_what_is_held_do_not_pile_up_times() -> None:
    account = PairLedger(PAIR)
    account.observe(Run(PAIR, Span(1, 100_000), time_of(1), time_of(100_000)))
    for first in range(1, 90_000, 7):
        account.observe(Run(PAIR, Span(first, first + 49), time_of(first), time_of(first + 49)))
    assert len(account._times_us) < 100
    assert_right(account, set(range(1, 100_001)))


def test_an_id_inside_a_span_has_no_time_here() -> None:
    account = PairLedger(PAIR)
    account.observe(Run(PAIR, Span(1, 9), time_of(1), time_of(9)))
    with pytest.raises(KeyError):
        account.time_us(5)


def test_a_ledger_lists_its_pairs_and_an_unknown_pair_holds_nothing() -> None:
    ledger = Ledger()
    ledger.observe_trades([trade(5), trade(5, "ETH/USD")])
    assert sorted(ledger) == ["BTC/USD", "ETH/USD"]
    assert ledger.of("XRP/USD").gaps() == ()
    assert ledger.of("XRP/USD").last_us is None


# -- what is known beside the rows ----------------------------------------------------------------------------------

PAIR = "BTC/USD"


@given(st.lists(st.tuples(st.sampled_from(["void", "unreadable", "disowned", "held"]), a_span()), max_size=60))
def test_absent_ids_are_not_missing_and_stored_overrides_absent(
    told: list[tuple[str, Span]],
) -> None:
    ledger, held, void, disowned, unreadable = Ledger(), set[int](), set[int](), set[int](), set[int]()
    for state, span in told:
        ids = set(range(span.first, span.last + 1))
        if state == "void":
            ledger.know(Void(PAIR, span))
            void |= ids
        elif state == "unreadable":
            ledger.know(Unreadable(PAIR, span))
            unreadable |= ids
        elif state == "disowned":
            ledger.know(Disowned(PAIR, span, 7, "disowned"))
            disowned |= ids
        else:
            ledger.observe(Run(PAIR, span, time_of(span.first), time_of(span.last)))
            held |= ids
        gaps = ledger.of(PAIR).gaps()
        assert list(gaps) == open_gaps(PAIR, ledger.of(PAIR).runs(), ledger.of(PAIR).absent().ids())
    holes = ledger.of(PAIR).gaps()
    missing = [i for hole in holes for i in range(hole.span.first, hole.span.last + 1)]
    assert missing == sorted(
        set(range(min(held, default=0), max(held, default=0))) - held - void - disowned - unreadable
    )
    assert {i for span in ledger.of(PAIR).void for i in range(span.first, span.last + 1)} == void - held
    assert {i for span in ledger.of(PAIR).disowned for i in range(span.first, span.last + 1)} == disowned - held
    wanted = {i for gap in ledger.of(PAIR).unreadable_gaps() for i in range(gap.span.first, gap.span.last + 1)}
    assert wanted == {i for i in unreadable - held - disowned if i < max(held, default=0)}
    for hole in holes:
        after = max(i for i in held if i < hole.span.first)
        before = min(i for i in held if i > hole.span.last)
        assert (hole.after_us, hole.before_us) == (time_of(after), time_of(before))


def test_gaps_that_have_not_changed_are_the_same_object_while_trades_come() -> None:
    ledger = ledger_of(Span(1, 5), Span(8, 9))
    gaps = ledger.of(PAIR).gaps()
    for trade_id in range(10, 20):
        ledger.observe(Run(PAIR, Span(trade_id, trade_id), trade_id * 10, trade_id * 10))
        ledger.observe(Run(PAIR, Span(2, 3), 20, 30))
        assert ledger.of(PAIR).gaps() is gaps
    ledger.observe(Run(PAIR, Span(7, 7), 70, 70))
    assert [gap.span for gap in ledger.of(PAIR).gaps()] == [Span(6, 6)]


def ledger_of(*spans: Span) -> Ledger:
    ledger = Ledger()
    for span in spans:
        ledger.observe(Run(PAIR, span, span.first * 10, span.last * 10))
    return ledger


def test_history_is_wanted_until_a_trade_from_before_it_is_held() -> None:
    ledger = ledger_of(Span(50, 60))
    assert ledger.history(PAIR, 300) == History(PAIR, from_us=300, before_id=50, before_us=500)
    assert ledger.history(PAIR, 500) == History(PAIR, from_us=500, before_id=50, before_us=500)  # 49 may be as young
    assert ledger.history(PAIR, 501) is None
    ledger.observe(Run(PAIR, Span(20, 21), 299, 300))
    assert ledger.history(PAIR, 300) is None
    assert [hole.span for hole in ledger.of(PAIR).gaps()] == [Span(22, 49)]


def test_the_whole_history_is_there_with_the_first_id_or_once_all_below_is_void() -> None:
    assert ledger_of().history(PAIR, 0) is None
    assert ledger_of(Span(1, 5)).history(PAIR, 0) is None
    ledger = ledger_of(Span(3, 5))
    assert ledger.history(PAIR, 0) == History(PAIR, from_us=0, before_id=3, before_us=30)
    ledger.know(Void(PAIR, Span(2, 2)))
    assert ledger.history(PAIR, 0) is not None
    ledger.know(Void(PAIR, Span(1, 1)))
    assert ledger.history(PAIR, 0) is None


def test_nothing_came_after_the_last_id_until_an_answer_said_so_and_only_about_that_id() -> None:
    ledger = ledger_of(Span(1, 5))
    account = ledger.of(PAIR)
    assert account.complete_until_us() == 50
    ledger.know(Confirmed(PAIR, 5, 900))
    ledger.know(Confirmed(PAIR, 5, 700))
    assert account.complete_until_us() == 900
    ledger.observe(Run(PAIR, Span(6, 6), 950, 950))
    assert account.complete_until_us() == 950
    assert PairLedger(PAIR).complete_until_us() is None


@given(st.lists(a_span(), max_size=30), st.lists(a_span(), max_size=10), st.none() | st.integers(0, 430))
def test_ids_above_the_anchor_are_missing_too_and_lie_after_the_promise(
    observed: list[Span], told: list[Span], after_id: int | None
) -> None:
    promised_us = time_of(after_id or 0)
    ledger, held, void = Ledger(), set[int](), set[int]()
    ledger.know(Promised(PAIR, promised_us))
    if after_id is not None:
        ledger.know(Anchored(PAIR, promised_us, after_id))
    for span in observed:
        ledger.observe(Run(PAIR, span, time_of(span.first), time_of(span.last)))
        held |= set(range(span.first, span.last + 1))
    for span in told:
        ledger.know(Void(PAIR, span))
        void |= set(range(span.first, span.last + 1))
    lowest = min([*held, *([after_id + 1] if after_id is not None else [])], default=0)
    holes = ledger.of(PAIR).gaps()
    missing = [i for hole in holes for i in range(hole.span.first, hole.span.last + 1)]
    assert missing == sorted(set(range(lowest, max(held, default=0))) - held - void)
    edges = {i: time_of(i) for i in held}
    for hole in holes:
        below = [(i, us) for i, us in edges.items() if i < hole.span.first]
        above = [(i, us) for i, us in edges.items() if i > hole.span.last]
        if after_id is not None and after_id < hole.span.first:
            below.append((after_id, promised_us))
        elif after_id is not None and hole.span.last <= after_id:
            above.append((after_id + 1, promised_us))
        assert (hole.after_us, hole.before_us) == (max(below)[1], min(above)[1])


def test_what_is_newest_of_a_pair_without_trades_is_its_anchor() -> None:
    ledger = Ledger()
    account = ledger.of(PAIR)
    ledger.know(Promised(PAIR, 100))
    assert account.newest() is None
    ledger.know(Anchored(PAIR, 100, 7))
    assert (account.newest(), account.complete_until_us()) == ((7, 100), 100)
    ledger.know(Confirmed(PAIR, 7, 900))
    assert account.complete_until_us() == 900
    ledger.observe(Run(PAIR, Span(5, 6), 40, 50))
    assert (account.newest(), account.complete_until_us()) == ((7, 100), 900)
    ledger.observe(Run(PAIR, Span(7, 9), 60, 150))
    assert (account.newest(), account.complete_until_us()) == ((9, 150), 150)
