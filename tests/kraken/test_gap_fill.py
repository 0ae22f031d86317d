from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from recorder.core.model import Trade
from recorder.core.trade_ids import Gap, Span, Spans
from recorder.kraken.gap_fill import FRUITLESS_PAGES, OVERLAPS_NS, STALLED_PAGES, GapFill
from recorder.kraken.rest_api import Request
from recorder.kraken.trade_pages import TradesPage
from tests.kraken.exchange import INSTRUMENT, Exchange, printed_us, row

START_NS = 1_783_465_205_562_702_999


@dataclass
class Outcome:
    gaps: list[Gap]
    fill: GapFill
    given: list[Trade]
    requests: int

    @property
    def missing(self) -> set[int]:
        """The ids that did not come."""
        return ids_of(gap.span for gap in self.gaps) - {trade.trade_id for trade in self.given}


def ids_of(spans: Iterable[Span]) -> set[int]:
    return {i for span in spans for i in range(span.first, span.last + 1)}


def gap_of(exchange: Exchange, first: int, last: int, *, live: bool = True) -> Gap:
    """Return the gap first..last; its neighbours came from the WebSocket (cut) or from REST (printed)."""
    time_us = (lambda ns: ns // 1000) if live else printed_us
    return Gap("BTC/USD", Span(first, last), time_us(exchange.times_ns[first - 2]), time_us(exchange.times_ns[last]))


def fill(exchange: Exchange, *gaps: Gap, attempt: int = 0, at_most: int = 100_000) -> Outcome:
    filling = GapFill(gaps, INSTRUMENT, attempts={gap.span.first: attempt for gap in gaps})
    outcome = Outcome(list(gaps), filling, [], 0)
    while (request := filling.request()) is not None:
        outcome.requests += 1
        assert outcome.requests <= at_most, "it does not end"
        page = exchange.get(request)
        fresh = filling.add_page(page)
        assert [trade.trade_id for trade in fresh] == sorted({t.trade_id for t in page.trades} & outcome.missing)
        outcome.given += fresh
    return outcome


def assert_honest(outcome: Outcome) -> None:
    """Nothing was given twice, nothing was asked for in vain untold, and nothing that came is called missing."""
    assert set(Counter(trade.trade_id for trade in outcome.given).values()) <= {1}
    given_up = ids_of(outcome.fill.given_up)
    assert given_up <= outcome.missing
    assert ids_of(outcome.fill.skipped) <= outcome.missing


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
def gaps_in(draw: st.DrawFn, exchange: Exchange) -> list[Gap]:
    """Return some gaps between held trades of the exchange; two never touch."""
    ids = st.integers(2, len(exchange.times_ns) - 1)
    ends = draw(st.lists(st.tuples(ids, ids), min_size=1, max_size=6))
    live = draw(st.booleans())
    spans = Spans(Span(min(pair), max(pair)) for pair in ends)
    return [gap_of(exchange, span.first, span.last, live=live) for span in spans]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Exchange, list[Gap]]:
    times = draw(histories())
    exchange = Exchange(
        times,
        cap=draw(st.integers(1, 30) | st.just(1000)),
        inclusive=draw(st.booleans()),
        lacking=frozenset(draw(st.sets(st.integers(1, len(times)), max_size=4))),
        without_last=frozenset(draw(st.sets(st.integers(0, 12), max_size=6))),
        repeated=frozenset(draw(st.sets(st.integers(1, 12), max_size=4))),
    )
    return exchange, draw(gaps_in(exchange))


@st.composite
def serving(draw: st.DrawFn, *, lacking: bool = False) -> tuple[Exchange, list[Gap]]:
    """Like ``cases``, of an exchange that serves all that it has, ids that are ``lacking`` excepted."""
    times = draw(histories())
    # More trades within one nanosecond than a page holds cannot be had: since is all there is to ask by.
    cap = draw(st.integers(max(2, largest_group(times)), 150) | st.just(1000))
    absent = frozenset(draw(st.sets(st.integers(1, len(times)), max_size=8))) if lacking else frozenset[int]()
    exchange = Exchange(times, cap=cap, inclusive=draw(st.booleans()), lacking=absent)
    return exchange, draw(gaps_in(exchange))


def largest_group(times_ns: list[int]) -> int:
    return max(Counter(times_ns).values())


@settings(max_examples=200)
@given(cases())
def test_it_closes_no_gap_falsely_loses_no_trade_and_ends_whatever_the_exchange_does(
    case: tuple[Exchange, list[Gap]],
) -> None:
    exchange, gaps = case
    ids = sum(len(gap.span) for gap in gaps)
    assert_honest(fill(exchange, *gaps, at_most=(ids + 1) * FRUITLESS_PAGES))


@settings(max_examples=200)
@given(serving())
def test_it_closes_every_gap_that_the_exchange_can_serve(case: tuple[Exchange, list[Gap]]) -> None:
    exchange, gaps = case
    outcome = fill(exchange, *gaps)
    assert_honest(outcome)
    assert outcome.missing == set()
    assert outcome.fill.given_up == outcome.fill.skipped == []


@settings(max_examples=150)
@given(serving(lacking=True), st.integers(0, 3))
def test_it_fetches_all_that_there_is_around_ids_that_the_exchange_lacks(
    case: tuple[Exchange, list[Gap]], attempt: int
) -> None:
    exchange, gaps = case
    outcome = fill(exchange, *gaps, attempt=attempt)
    assert_honest(outcome)
    assert outcome.missing == exchange.lacking & ids_of(gap.span for gap in gaps)
    assert ids_of(outcome.fill.given_up) == outcome.missing


@settings(max_examples=150)
@given(cases())
def test_attempts_that_follow_close_what_a_fault_left_open(case: tuple[Exchange, list[Gap]]) -> None:
    exchange, gaps = case
    cap = max(2, exchange.cap, largest_group(list(exchange.times_ns)))
    # The faults pass: they are counted by answer, and the count goes on.
    exchange = replace(exchange, cap=cap, lacking=frozenset())
    for attempt in range(30):
        if gaps:
            missing = fill(exchange, *gaps, attempt=attempt).missing
            gaps = [gap_of(exchange, span.first, span.last) for span in Spans.of_ids(missing)]
    assert gaps == []


@settings(max_examples=100)
@given(serving(), st.data())
def test_missing_ids_that_come_along_are_kept_though_nobody_asked_for_them(
    case: tuple[Exchange, list[Gap]], data: st.DataObject
) -> None:
    exchange, gaps = case
    asked = data.draw(st.sampled_from(gaps))
    filling = GapFill([asked], INSTRUMENT, missing=Spans(gap.span for gap in gaps))
    came, seen = set[int](), set[int]()
    while (request := filling.request()) is not None:
        page = exchange.get(request)
        seen |= {trade.trade_id for trade in page.trades}
        came |= {trade.trade_id for trade in filling.add_page(page)}
    assert came == seen & ids_of(gap.span for gap in gaps)
    assert came >= ids_of([asked.span])


# -- few pages ------------------------------------------------------------------------------------------------------


def busy_minute(seed: int, *, trades: int, lost: float) -> tuple[Exchange, list[Gap]]:
    """Return a minute of so many trades in frames of up to 80, of which a part was lost."""
    random, times, missing = Random(seed), list[int](), Spans()
    time_ns = START_NS
    while len(times) < trades:
        frame = min(random.randint(1, 80), trades - len(times))
        if random.random() < lost and 1 < len(times) < trades - frame:
            missing.add(Span(len(times) + 1, len(times) + frame))
        for _ in range(frame):
            times.append(time_ns)
            time_ns += random.choice([0, 13, 1_000])
        time_ns += round(random.expovariate(1.0) * 60e9 * 40 / trades)
    exchange = Exchange(times)
    return exchange, [gap_of(exchange, span.first, span.last) for span in missing]


def fewest_pages(gaps: Sequence[Gap]) -> int:
    """Return how many pages of 1000 ids, each beginning with a missing one, can hold all that is missing."""
    pages = reached = 0
    for gap in gaps:
        left = gap.span.last - max(gap.span.first - 1, reached)
        if left > 0:
            more = -(-left // 1000)
            pages, reached = pages + more, max(gap.span.first - 1, reached) + 1000 * more
    return pages


@pytest.mark.parametrize(("trades", "lost"), [(100_000, 0.1), (40_000, 0.25), (40_000, 0.02), (20_000, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_gaps_of_a_busy_minute_cost_hardly_more_pages_than_can_hold_them(trades: int, lost: float, seed: int) -> None:
    exchange, gaps = busy_minute(seed, trades=trades, lost=lost)
    outcome = fill(exchange, *gaps)
    assert outcome.missing == set()
    assert outcome.requests <= 1.1 * fewest_pages(gaps) + 2


def test_many_scattered_gaps_cost_one_page_per_thousand_trades() -> None:
    exchange, gaps = busy_minute(5, trades=30_000, lost=0.33)
    assert sum(len(gap.span) for gap in gaps) > 9_000
    outcome = fill(exchange, *gaps)
    assert outcome.missing == set()
    assert outcome.requests <= 33


def test_ids_between_far_gaps_are_not_fetched() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(30_000)])
    gaps = [gap_of(exchange, first, first + 2) for first in range(100, 30_000, 5_000)]
    outcome = fill(exchange, *gaps)
    assert (outcome.missing, outcome.requests) == (set(), len(gaps))


def test_where_one_page_closes_most_is_asked_for_first_but_for_the_newest_gap() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(30_000)])
    few, many, newest = gap_of(exchange, 100, 105), gap_of(exchange, 10_000, 10_050), gap_of(exchange, 20_000, 20_000)
    outcome = fill(exchange, few, many, newest)
    assert [trade.trade_id for trade in outcome.given] == [20_000, *range(10_000, 10_051), *range(100, 106)]


def test_an_exchange_that_repeats_one_page_forever_is_left_however_many_gaps_there_are() -> None:
    exchange = Exchange([START_NS + step * 10**6 for step in range(20_000)], repeated=frozenset(range(1, 10_000)))
    gaps = [gap_of(exchange, first, first) for first in range(2, 20_000, 3)]
    outcome = fill(exchange, *gaps)
    assert outcome.requests <= 1 + FRUITLESS_PAGES
    assert outcome.fill.given_up, "somebody has to wait before it is tried again"


# -- particular answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_sweep_of_1000_trades_at_a_page_edge_is_fetched_whole(inclusive: bool) -> None:  # noqa: FBT001
    quiet = [START_NS + second * 10**9 for second in range(500)]
    sweep = [quiet[-1] + 10**9 + 13 * step for step in range(1_000)]
    after = [sweep[-1] + second * 10**9 for second in range(1, 700)]
    exchange = Exchange([*quiet, *sweep, *after], inclusive=inclusive)
    outcome = fill(exchange, gap_of(exchange, 2, 2_190))
    assert outcome.missing == set()
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
    outcome = fill(exchange, gap_of(exchange, 2, len(times) - 1))
    assert outcome.missing == set()
    assert outcome.requests <= 12


@pytest.mark.parametrize("inclusive", [True, False])
def test_more_trades_in_one_nanosecond_than_a_page_holds_leave_only_their_rest_open(inclusive: bool) -> None:  # noqa: FBT001
    times = [START_NS, *[START_NS + 10**6] * 1_500, *(START_NS + step * 10**6 for step in range(2, 3000))]
    exchange = Exchange(times, inclusive=inclusive)
    outcome = fill(exchange, gap_of(exchange, 2, len(times) - 1), at_most=100)
    assert 0 < len(outcome.missing) <= 501


def test_a_long_gap_costs_a_page_for_every_thousand_trades() -> None:
    exchange = Exchange([START_NS + step * 37_000_000 for step in range(20_002)])
    outcome = fill(exchange, gap_of(exchange, 2, 20_001))
    assert outcome.missing == set()
    assert outcome.requests <= 21


def test_one_missing_trade_costs_one_request() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)])
    outcome = fill(exchange, gap_of(exchange, 50, 50))
    assert (outcome.requests, [trade.trade_id for trade in outcome.given]) == (1, [50])


def test_an_exchange_that_lags_behind_is_left_soon() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)], lacking=frozenset(range(60, 101)))
    outcome = fill(exchange, gap_of(exchange, 60, 80))
    assert outcome.given == []
    assert outcome.requests <= STALLED_PAGES + 1


def test_an_exchange_that_has_nothing_is_left_after_every_overlap() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)], lacking=frozenset(range(1, 101)))
    assert fill(exchange, gap_of(exchange, 60, 80)).requests == len(OVERLAPS_NS)


def test_a_neighbour_that_the_exchange_lacks_is_looked_past() -> None:
    exchange = Exchange([START_NS + step * 10**8 for step in range(100)], lacking=frozenset(range(46, 50)))
    outcome = fill(exchange, gap_of(exchange, 50, 60))
    assert outcome.missing == set()


@pytest.mark.parametrize("last", ["", "soon", "-5", "0", "1e9", "9999999999999999999999", "٣"])
def test_a_cursor_that_is_no_time_of_the_page_is_not_followed(last: str) -> None:
    exchange = Exchange([START_NS + step * 10**6 for step in range(3_000)])
    gap = gap_of(exchange, 2, 2_999)
    filling, came = GapFill([gap], INSTRUMENT), 0
    for _ in range(10):
        if (request := filling.request()) is not None:
            came += len(filling.add_page(replace(exchange.get(request), last=last)))
    assert came == len(gap.span)


def test_rows_outside_of_what_is_missing_are_not_given_out() -> None:
    filling = GapFill([Gap("BTC/USD", Span(5, 6), START_NS // 1000, START_NS // 1000)], INSTRUMENT)
    page = TradesPage(tuple(row(trade_id, START_NS // 1000) for trade_id in range(3, 9)), None)
    assert [trade.trade_id for trade in filling.add_page(page)] == [5, 6]
    assert filling.request() is None


def test_it_begins_a_millisecond_before_the_neighbour() -> None:
    request = GapFill([Gap("BTC/USD", Span(5, 6), 1_783_465_205_562_702, 1_783_465_205_662_702)], INSTRUMENT).request()
    assert request is not None
    assert dict(request.params) == {"pair": "XBTUSD", "since": "1783465205561702000", "count": "1000"}


# -- ids that an answer steps over ----------------------------------------------------------------------------------


@settings(max_examples=150)
@given(cases(), st.integers(0, 3))
def test_only_ids_that_the_exchange_lacks_are_ever_called_skipped(
    case: tuple[Exchange, list[Gap]], attempt: int
) -> None:
    exchange, gaps = case
    assert ids_of(fill(exchange, *gaps, attempt=attempt).fill.skipped) <= exchange.lacking


@settings(max_examples=150)
@given(st.lists(st.integers(1, 3 * 10**9), min_size=8, max_size=60), st.data())
def test_what_is_lacking_between_two_rows_is_called_skipped_by_a_later_attempt(
    steps: list[int], data: st.DataObject
) -> None:
    times = [START_NS + 100 * 10**9 + sum(steps[: index + 1]) for index in range(len(steps))]
    lacking = data.draw(st.sets(st.integers(4, len(times) - 1), min_size=1, max_size=4))
    exchange = Exchange([START_NS, *times], inclusive=data.draw(st.booleans()), lacking=frozenset(lacking))
    missing = lacking | data.draw(st.sets(st.integers(4, len(times))))
    outcome = fill(exchange, *(gap_of(exchange, span.first, span.last) for span in Spans.of_ids(missing)), attempt=2)
    assert ids_of(outcome.fill.skipped) == lacking == outcome.missing


def test_an_id_whose_time_steps_back_before_the_page_is_not_called_skipped() -> None:
    page = TradesPage(tuple(row(trade_id, START_NS // 1000 + 500) for trade_id in (4, 6)), None)
    gap = Gap("BTC/USD", Span(5, 5), START_NS // 1000, START_NS // 1000 + 500)
    filling = GapFill([gap], INSTRUMENT)
    assert filling.add_page(page) == []
    assert filling.skipped == []
    filling = GapFill([gap], INSTRUMENT, attempts={5: 1})
    filling.add_page(page)
    assert filling.skipped == [Span(5, 5)]


def test_a_row_with_an_odd_id_proves_nothing_of_all_the_ids_below_it() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)], cap=20)
    filling = GapFill([gap_of(exchange, 10, 90)], INSTRUMENT, attempts={10: 2})
    odd = row(2**40, exchange.times_ns[20] // 1000)
    while (request := filling.request()) is not None:
        page = exchange.get(request)
        filling.add_page(replace(page, trades=(*page.trades, odd)))
    assert filling.skipped == []


def jumping(*times_us: int, below: int = 20, odd: int | None = None) -> list[Span]:
    """Return what a page steps over whose ids jump by ten million after the first rows."""
    ids = [*range(1, below + 1), *range(10_000_001, 10_000_001 + len(times_us))]
    stamps = [START_NS // 1000 + n * 2_000_000 for n in range(below)] + [START_NS // 1000 + at for at in times_us]
    rows = [row(trade_id, time_us) for trade_id, time_us in zip(ids, stamps, strict=True)]
    if odd is not None:
        rows.append(row(2**40, START_NS // 1000 + odd))
    gap = Gap("BTC/USD", Span(below + 1, 10_000_000), stamps[below - 1], stamps[below])
    filling = GapFill([gap], INSTRUMENT, attempts={below + 1: 1})
    filling.add_page(TradesPage(tuple(rows), None))
    assert filling.request() is None, "one page says all that there is to say"
    return filling.skipped


def test_ids_that_jump_by_ten_million_are_skipped_where_the_page_goes_on_from_there() -> None:
    assert jumping(40_000_000, 40_000_000, 41_000_000) == [Span(21, 10_000_000)]
    assert jumping(40_000_000, 41_000_000) == [], "too few to tell"
    assert jumping(40_000_000, 30_000_000, 41_000_000) == [], "made between those below"
    assert jumping(40_000_000, 40_000_000, 41_000_000, odd=40_500_000) == [Span(21, 10_000_000)]
    assert jumping(40_000_000, 41_000_000, odd=42_000_000) == []


@pytest.mark.parametrize("odd_us", [0, 4_176_528_432_000_000])
def test_odd_times_beside_a_jump_hide_it_not(odd_us: int) -> None:
    begin_us = START_NS // 1000
    ids = [*range(1, 21), *range(10_000_001, 10_000_007)]
    for odd_ids in ({3, 19}, {10_000_001, 10_000_005}, {20, 10_000_002}):
        times_us = {one: odd_us if one in odd_ids else begin_us + place * 2_000_000 for place, one in enumerate(ids)}
        gap = Gap("BTC/USD", Span(21, 10_000_000), begin_us + 38_000_000, begin_us + 40_000_000)
        filling = GapFill([gap], INSTRUMENT, attempts={21: 2})
        filling.add_page(TradesPage(tuple(row(one, time_us) for one, time_us in times_us.items()), None))
        assert filling.skipped == [Span(21, 10_000_000)]


@pytest.mark.parametrize("odd_us", [0, 4_176_528_432_000_000])
def test_an_odd_time_does_not_tell_that_answers_began_long_before_what_they_step_over(odd_us: int) -> None:
    begin_us = START_NS // 1000
    filling = GapFill([Gap("BTC/USD", Span(21, 22), begin_us, begin_us + 1)], INSTRUMENT)
    times_us = {20: odd_us, 23: begin_us + 1, 24: begin_us + 2_000_000}
    filling.add_page(TradesPage(tuple(row(one, time_us) for one, time_us in times_us.items()), None))
    assert filling.skipped == []


# -- odd times ------------------------------------------------------------------------------------------------------

IN_2102_US = 4_176_528_432_000_000
ODD_US = [IN_2102_US, 0, -62_135_596_800_000_000]


class Misprinting(Exchange):
    """Serves some trades with an odd time, among their neighbours."""

    odd_us: int = 0
    odd_ids: frozenset[int] = frozenset()

    def get(self, request: Request) -> TradesPage:
        page = super().get(request)
        trades = tuple(row(t.trade_id, self.odd_us if t.trade_id in self.odd_ids else t.time_us) for t in page.trades)
        ends_odd = bool(trades) and trades[-1].trade_id in self.odd_ids
        return TradesPage(trades, str(self.odd_us * 1000) if ends_odd else page.last)


def misprinting(odd_us: int, *odd_ids: int) -> Misprinting:
    exchange = Misprinting([START_NS + n * 1_000_000_000 for n in range(3_000)], cap=100)
    exchange.odd_us, exchange.odd_ids = odd_us, frozenset(odd_ids)
    return exchange


@pytest.mark.parametrize("odd_us", ODD_US)
def test_a_gap_behind_a_trade_with_an_odd_time_is_filled(odd_us: int) -> None:
    exchange = misprinting(odd_us, 500)
    gap = structs.replace(gap_of(exchange, 501, 900), after_us=odd_us)
    left: set[int] = ids_of([gap.span])
    for attempt in range(8):
        outcome = fill(exchange, gap, attempt=attempt, at_most=100)
        left &= outcome.missing
        if not left:
            return
    raise AssertionError(f"{len(left)} ids are missing still")


@pytest.mark.parametrize("odd_us", ODD_US)
@pytest.mark.parametrize("odd_id", [595, 600, 601, 899])
def test_a_trade_with_an_odd_time_inside_a_gap_leads_nothing_astray(odd_us: int, odd_id: int) -> None:
    exchange = misprinting(odd_us, odd_id, odd_id + 1)
    outcome = fill(exchange, gap_of(exchange, 501, 898), gap_of(exchange, 1501, 1898), at_most=40)
    assert outcome.missing == set()
