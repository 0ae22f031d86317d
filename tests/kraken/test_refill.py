from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.ids import Gap, Span
from recorder.core.model import Trade
from recorder.kraken.parse import TradesPage
from recorder.kraken.refill import FRUITLESS_PAGES, OVERLAPS_NS, STALLED_PAGES, Refill
from tests.kraken.exchange import INSTRUMENT, Exchange, printed_us, row

START_NS = 1_783_465_205_562_702_999


@dataclass
class Outcome:
    refill: Refill
    given: list[Trade]
    requests: int


def hole_of(exchange: Exchange, first: int, last: int, *, live: bool = True) -> Gap:
    """Return the hole first..last; its neighbours came from the WebSocket (cut) or from REST (printed)."""
    time_us = (lambda ns: ns // 1000) if live else printed_us
    return Gap("BTC/USD", Span(first, last), time_us(exchange.times_ns[first - 2]), time_us(exchange.times_ns[last]))


def fill(exchange: Exchange, hole: Gap, *, at_most: int = 100_000) -> Outcome:
    refill, given_rows, requests = Refill(hole, INSTRUMENT), [], 0
    while (request := refill.request()) is not None:
        requests += 1
        assert requests <= at_most, "it does not end"
        page = exchange.get(request)
        before = {i for span in refill.missing for i in range(span.first, span.last + 1)}
        fresh = refill.take(page)
        assert [trade.trade_id for trade in fresh] == sorted({t.trade_id for t in page.trades} & before)
        given_rows += fresh
    return Outcome(refill, given_rows, requests)


def assert_honest(outcome: Outcome, hole: Gap) -> None:
    """Nothing was closed that was not given, nothing given was lost, nothing was given twice."""
    found = Counter(trade.trade_id for trade in outcome.given)
    missing = {i for span in outcome.refill.missing for i in range(span.first, span.last + 1)}
    assert set(found.values()) <= {1}
    assert set(found) | missing == set(range(hole.span.first, hole.span.last + 1))
    assert not set(found) & missing


GAPS = st.one_of(
    st.just(0),  # one nanosecond
    st.integers(1, 120),  # one printed time
    st.integers(1, 5_000),  # about one µs
    st.integers(1, 3_000_000),  # about the first overlap
    st.integers(1, 90 * 10**9),  # about the furthest
)


@st.composite
def histories(draw: st.DrawFn) -> list[int]:
    """Return the times of some trades: runs of equal or close ones, and jumps."""
    times = [START_NS]
    for gap, repeats in draw(st.lists(st.tuples(GAPS, st.integers(1, 12)), min_size=3, max_size=12)):
        for _ in range(repeats):
            times.append(times[-1] + gap)
    return times


@st.composite
def cases(draw: st.DrawFn) -> tuple[Exchange, Gap]:
    times = draw(histories())
    ids = st.integers(2, len(times) - 1)
    first = draw(ids)
    last = draw(st.integers(first, len(times) - 1))
    exchange = Exchange(
        times,
        cap=draw(st.integers(1, 30) | st.just(1000)),
        inclusive=draw(st.booleans()),
        lacking=frozenset(draw(st.sets(st.integers(1, len(times)), max_size=4))),
        without_last=frozenset(draw(st.sets(st.integers(0, 12), max_size=6))),
        repeated=frozenset(draw(st.sets(st.integers(1, 12), max_size=4))),
    )
    return exchange, hole_of(exchange, first, last, live=draw(st.booleans()))


@settings(max_examples=500)
@given(cases())
def test_it_closes_no_hole_falsely_loses_no_trade_and_ends_whatever_the_exchange_does(
    case: tuple[Exchange, Gap],
) -> None:
    exchange, hole = case
    outcome = fill(exchange, hole, at_most=(len(hole.span) + 1) * FRUITLESS_PAGES)
    assert_honest(outcome, hole)


def largest_group(times_ns: list[int]) -> int:
    return max(Counter(times_ns).values())


@settings(max_examples=500)
@given(histories(), st.data())
def test_it_closes_every_hole_that_the_exchange_can_serve(times: list[int], data: st.DataObject) -> None:
    # More trades within one nanosecond than a page holds cannot be had: since is all there is to ask by.
    cap = data.draw(st.integers(max(2, largest_group(times)), 150) | st.just(1000), "cap")
    first = data.draw(st.integers(2, len(times) - 1), "first")
    last = data.draw(st.integers(first, len(times) - 1), "last")
    exchange = Exchange(times, cap=cap, inclusive=data.draw(st.booleans(), "inclusive"))
    hole = hole_of(exchange, first, last, live=data.draw(st.booleans(), "live"))
    outcome = fill(exchange, hole)
    assert_honest(outcome, hole)
    assert outcome.refill.missing == []


@settings(max_examples=300)
@given(histories(), st.data())
def test_it_fetches_all_that_there_is_around_ids_that_the_exchange_lacks(times: list[int], data: st.DataObject) -> None:
    lacking = frozenset(data.draw(st.sets(st.integers(1, len(times)), max_size=8), "lacking"))
    cap = data.draw(st.integers(max(2, largest_group(times)), 150) | st.just(1000), "cap")
    first = data.draw(st.integers(2, len(times) - 1), "first")
    last = data.draw(st.integers(first, len(times) - 1), "last")
    exchange = Exchange(times, cap=cap, inclusive=data.draw(st.booleans(), "inclusive"), lacking=lacking)
    hole = hole_of(exchange, first, last)
    outcome = fill(exchange, hole)
    assert_honest(outcome, hole)
    missing = {i for span in outcome.refill.missing for i in range(span.first, span.last + 1)}
    assert missing == lacking & set(range(first, last + 1))


@settings(max_examples=300)
@given(cases())
def test_attempts_that_follow_close_what_a_fault_left_open(case: tuple[Exchange, Gap]) -> None:
    exchange, hole = case
    cap = max(2, exchange.cap, largest_group(list(exchange.times_ns)))
    # The faults pass: they are counted by answer, and the count goes on.
    exchange = replace(exchange, cap=cap, lacking=frozenset())
    missing = [hole.span]
    for _ in range(30):
        still: list[Span] = []
        for span in missing:
            outcome = fill(exchange, hole_of(exchange, span.first, span.last))
            still += outcome.refill.missing
        missing = still
    assert missing == []


# -- particular answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_sweep_of_a_thousand_trades_within_13_microseconds_at_a_page_edge_is_fetched_whole(inclusive: bool) -> None:  # noqa: FBT001
    quiet = [START_NS + second * 10**9 for second in range(500)]
    sweep = [quiet[-1] + 10**9 + 13 * step for step in range(1_000)]
    after = [sweep[-1] + second * 10**9 for second in range(1, 700)]
    exchange = Exchange([*quiet, *sweep, *after], inclusive=inclusive)
    outcome = fill(exchange, hole_of(exchange, 2, 2_190))
    assert outcome.refill.missing == []
    assert outcome.requests <= 4


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("together", [300, 999, 1_000])
def test_hundreds_of_trades_in_one_nanosecond_across_a_page_edge_are_fetched_whole(
    inclusive: bool,  # noqa: FBT001
    together: int,
) -> None:
    times = [START_NS + step * 10**6 for step in range(900)]
    times += [times[-1] + 10**6] * together
    times += [times[-1] + step * 10**6 for step in range(1, 1500)]
    exchange = Exchange(times, inclusive=inclusive)
    outcome = fill(exchange, hole_of(exchange, 2, len(times) - 1))
    assert outcome.refill.missing == []
    assert outcome.requests <= 12


@pytest.mark.parametrize("inclusive", [True, False])
def test_more_trades_in_one_nanosecond_than_a_page_holds_leave_only_their_rest_open(inclusive: bool) -> None:  # noqa: FBT001
    times = [START_NS, *[START_NS + 10**6] * 1_500, *(START_NS + step * 10**6 for step in range(2, 3000))]
    exchange = Exchange(times, inclusive=inclusive)
    outcome = fill(exchange, hole_of(exchange, 2, len(times) - 1), at_most=100)
    missing = sum(len(span) for span in outcome.refill.missing)
    assert 0 < missing <= 501


def test_a_long_hole_costs_a_page_for_every_thousand_trades() -> None:
    exchange = Exchange([START_NS + step * 37_000_000 for step in range(20_002)])
    outcome = fill(exchange, hole_of(exchange, 2, 20_001))
    assert outcome.refill.missing == []
    assert outcome.requests <= 21


def test_one_missing_trade_costs_one_request() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)])
    outcome = fill(exchange, hole_of(exchange, 50, 50))
    assert (outcome.requests, [trade.trade_id for trade in outcome.given]) == (1, [50])


def test_an_exchange_that_lags_behind_is_left_soon() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)], lacking=frozenset(range(60, 101)))
    outcome = fill(exchange, hole_of(exchange, 60, 80))
    assert outcome.given == []
    assert outcome.requests <= STALLED_PAGES + 1


def test_an_exchange_that_has_nothing_is_left_after_every_overlap() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)], lacking=frozenset(range(1, 101)))
    assert fill(exchange, hole_of(exchange, 60, 80)).requests == len(OVERLAPS_NS)


def test_a_neighbour_that_the_exchange_lacks_is_looked_past() -> None:
    exchange = Exchange([START_NS + step * 10**8 for step in range(100)], lacking=frozenset(range(46, 50)))
    outcome = fill(exchange, hole_of(exchange, 50, 60))
    assert outcome.refill.missing == []


@pytest.mark.parametrize("last", ["", "soon", "-5", "0", "1e9", "9999999999999999999999", "٣"])
def test_a_cursor_that_is_no_time_of_the_page_is_not_followed(last: str) -> None:
    exchange = Exchange([START_NS + step * 10**6 for step in range(3_000)])
    hole = hole_of(exchange, 2, 2_999)
    refill = Refill(hole, INSTRUMENT)
    for _ in range(10):
        if (request := refill.request()) is not None:
            refill.take(replace(exchange.get(request), last=last))
    assert refill.missing == []


def test_rows_outside_the_hole_are_not_given_out() -> None:
    refill = Refill(Gap("BTC/USD", Span(5, 6), START_NS // 1000, START_NS // 1000), INSTRUMENT)
    page = TradesPage(tuple(row(trade_id, START_NS // 1000) for trade_id in range(3, 9)), None)
    assert [trade.trade_id for trade in refill.take(page)] == [5, 6]
    assert refill.request() is None


def test_it_begins_a_millisecond_before_the_neighbour() -> None:
    request = Refill(Gap("BTC/USD", Span(5, 6), 1_783_465_205_562_702, 1_783_465_205_662_702), INSTRUMENT).request()
    assert request is not None
    assert dict(request.params) == {"pair": "XBTUSD", "since": "1783465205561702000", "count": "1000"}


# -- ids that an answer steps over ----------------------------------------------------------------------------------


def ids_of(spans: list[Span]) -> set[int]:
    return {i for span in spans for i in range(span.first, span.last + 1)}


@settings(max_examples=300)
@given(cases())
def test_only_ids_that_the_exchange_lacks_are_ever_called_skipped(case: tuple[Exchange, Gap]) -> None:
    exchange, hole = case
    outcome = fill(exchange, hole, at_most=(len(hole.span) + 1) * FRUITLESS_PAGES)
    skipped = ids_of(outcome.refill.skipped)
    assert skipped <= exchange.lacking
    assert skipped <= ids_of(outcome.refill.missing)


@settings(max_examples=300)
@given(st.lists(st.integers(1, 3 * 10**9), min_size=8, max_size=60), st.data())
def test_what_is_lacking_between_two_rows_is_called_skipped_by_a_later_attempt(
    steps: list[int], data: st.DataObject
) -> None:
    times = [START_NS + 100 * 10**9 + sum(steps[: index + 1]) for index in range(len(steps))]
    lacking = data.draw(st.sets(st.integers(4, len(times) - 1), min_size=1, max_size=4))
    exchange = Exchange([START_NS, *times], inclusive=data.draw(st.booleans()), lacking=frozenset(lacking))
    hole = hole_of(exchange, 4, len(times))
    refill = Refill(hole, INSTRUMENT, attempt=2)
    while (request := refill.request()) is not None:
        refill.take(exchange.get(request))
    assert ids_of(refill.skipped) == lacking == ids_of(refill.missing)


def test_an_id_whose_time_steps_back_before_the_page_is_not_called_skipped() -> None:
    page = TradesPage(tuple(row(trade_id, START_NS // 1000 + 500) for trade_id in (4, 6)), None)
    refill = Refill(Gap("BTC/USD", Span(5, 5), START_NS // 1000, START_NS // 1000 + 500), INSTRUMENT)
    assert refill.take(page) == []
    assert refill.skipped == []
    refill = Refill(Gap("BTC/USD", Span(5, 5), START_NS // 1000, START_NS // 1000 + 500), INSTRUMENT, attempt=1)
    refill.take(page)
    assert refill.skipped == [Span(5, 5)]
