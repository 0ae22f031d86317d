from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.ledger import History, Ledger
from recorder.core.model import Trade
from recorder.core.trade_ids import Run, Span
from recorder.kraken.history_start import LOOK_BACK_NS, HistoryStart
from recorder.kraken.trade_pages import TradesPage
from tests.kraken.exchange import INSTRUMENT, Exchange, row

START_NS = 1_783_465_205_562_702_999
DAY_NS = 86_400 * 10**9


def reach(exchange: Exchange, history: History) -> tuple[list[Trade], HistoryStart]:
    """Carry out one attempt; return the rows it gave."""
    attempt, rows, requests = HistoryStart(history, INSTRUMENT), [], 0
    while (request := attempt.request()) is not None:
        requests += 1
        assert requests <= len(LOOK_BACK_NS) + 1
        rows += attempt.add_page(exchange.get(request))
    return rows, attempt


def history_of(exchange: Exchange, before_id: int, from_ns: int) -> History:
    return History("BTC/USD", from_ns // 1000, before_id, exchange.times_ns[before_id - 1] // 1000)


TIMES = st.lists(st.integers(0, 40 * DAY_NS) | st.integers(0, 10**9), min_size=2, max_size=60).map(
    lambda steps: [START_NS + sum(steps[: index + 1]) for index in range(len(steps))]
)


@given(TIMES, st.data())
def test_the_history_reaches_a_trade_before_its_start_or_the_first_of_all(
    times: list[int], data: st.DataObject
) -> None:
    cap = data.draw(st.integers(1, 5) | st.just(1000))
    exchange = Exchange(times, cap=cap, inclusive=data.draw(st.booleans()))
    before_id = data.draw(st.integers(2, len(times)))
    from_ns = data.draw(st.integers(START_NS - DAY_NS, times[before_id - 1]))
    history = history_of(exchange, before_id, from_ns)
    rows, _ = reach(exchange, history)
    assert rows
    assert all(row.trade_id < before_id for row in rows)
    assert rows[0].trade_id == 1 or rows[0].time_us < history.from_us
    assert [row.trade_id for row in rows] == list(range(rows[0].trade_id, rows[-1].trade_id + 1))
    ledger = Ledger()
    ledger.observe(Run("BTC/USD", Span(before_id, before_id), history.before_us, history.before_us))
    ledger.observe_trades(rows)
    assert ledger.history("BTC/USD", history.from_us) is None


def test_on_a_busy_pair_it_costs_a_few_requests_and_begins_with_the_trade_just_before() -> None:
    exchange = Exchange([START_NS + step * 10**8 for step in range(5_000)])
    rows, _ = reach(exchange, history_of(exchange, 4_000, exchange.times_ns[2_000] - 1))
    assert exchange.asked <= 3
    assert [rows[0].trade_id, rows[-1].trade_id] == [2_000, 2_998]


def test_the_whole_history_begins_with_the_first_trade_of_all() -> None:
    exchange = Exchange([START_NS + step for step in range(3_000)])
    rows, attempt = reach(exchange, history_of(exchange, 2_500, 0))
    assert (exchange.asked, rows[0].trade_id, attempt.skipped) == (1, 1, [])


def test_ids_below_the_first_row_of_all_were_skipped() -> None:
    exchange = Exchange([START_NS + step for step in range(10)], lacking=frozenset({1, 2}))
    rows, attempt = reach(exchange, history_of(exchange, 7, 0))
    assert [row.trade_id for row in rows] == [3, 4, 5, 6]
    assert attempt.skipped == [Span(1, 2)]
    rows, attempt = reach(exchange, history_of(exchange, 3, 0))
    assert (rows, attempt.skipped) == ([], [Span(1, 2)])


def test_an_answer_above_a_stored_trade_does_not_start_the_history() -> None:
    newest = Exchange([START_NS + step for step in range(3_000)], lacking=frozenset(range(1, 2_001)))
    assert reach(newest, history_of(newest, 1_500, 0))[1].skipped == []


@pytest.mark.parametrize("from_us", [0, START_NS // 1000])
def test_an_empty_answer_proves_nothing(from_us: int) -> None:
    attempt = HistoryStart(History("BTC/USD", from_us, 9, START_NS // 1000), INSTRUMENT)
    while attempt.request() is not None:
        assert attempt.add_page(TradesPage((), None)) == []
    assert attempt.skipped == []


def test_a_trade_with_an_odd_time_is_not_taken_for_one_from_before_the_moment() -> None:
    exchange = Exchange([START_NS + step * 10**9 for step in range(100)])
    history = history_of(exchange, 90, exchange.times_ns[49])
    attempt = HistoryStart(history, INSTRUMENT)
    rows: list[Trade] = []
    while (request := attempt.request()) is not None:
        page = exchange.get(request)
        odd = (row(t.trade_id, 0 if t.trade_id == 80 else t.time_us) for t in page.trades)
        rows += attempt.add_page(TradesPage(tuple(odd), page.last))
    assert [trade.trade_id for trade in rows] == list(range(49, 90))


@pytest.mark.parametrize("odd_us", [0, -62_135_596_800_000_000])
def test_history_is_wanted_below_a_first_trade_with_an_odd_time(odd_us: int) -> None:
    ledger = Ledger()
    ledger.observe(Run("BTC/USD", Span(80, 89), odd_us, START_NS // 1000))
    assert ledger.history("BTC/USD", START_NS // 1000) is not None
