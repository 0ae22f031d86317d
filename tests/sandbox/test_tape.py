from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.trade_ids import Span
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.tape import MARKET, ORD_TYPES, SELL, SIDES, Tape

PAIR = pair_of("BTC/USD", pair_decimals=1, lot_decimals=8)


def tape_of(times_ns: list[int], *, first_id: int = 1) -> Tape:
    tape = Tape(PAIR, first_id=first_id)
    for time_ns in times_ns:
        tape.append(time_ns, price=10, qty=10, mark=0)
    return tape


@given(
    times=st.lists(st.integers(0, 30), max_size=40).map(sorted),
    since=st.integers(0, 31),
    count=st.integers(1, 50),
    inclusive=st.booleans(),
    first_id=st.integers(1, 10**9),
)
def test_a_page_is_what_filtering_every_row_would_give(
    *, times: list[int], since: int, count: int, inclusive: bool, first_id: int
) -> None:
    tape = tape_of(times, first_id=first_id)
    wanted = [first_id + index for index, time in enumerate(times) if time > since or (inclusive and time == since)][
        :count
    ]
    page = tape.page(since, count=count, inclusive=inclusive)
    assert ([] if page is None else list(range(page.first, page.last + 1))) == wanted


@given(size=st.integers(0, 60), count=st.integers(1, 80))
def test_the_newest_are_the_last_ids(size: int, count: int) -> None:
    newest = tape_of([0] * size).newest(count)
    assert newest == (Span(max(1, size - count + 1), size) if size else None)


def test_rows_carry_what_was_appended_under_dense_ids() -> None:
    tape = Tape(PAIR, first_id=7)
    assert tape.append(5, price=1, qty=2, mark=SELL) == 7
    assert tape.append(5, price=3, qty=4, mark=MARKET) == 8
    assert list(tape.rows(Span(7, 8))) == [(7, 5, 1, 2, SELL), (8, 5, 3, 4, MARKET)]
    assert (tape.span, len(tape), tape.last_id) == (Span(7, 8), 2, 8)


def test_an_empty_tape_has_no_span_and_ends_before_its_first_id() -> None:
    tape = Tape(PAIR, first_id=100)
    assert (tape.span, tape.newest(5), tape.last_id) == (None, None, 99)


def test_a_mark_says_side_and_kind() -> None:
    assert (SIDES[0], ORD_TYPES[0]) == ("buy", "limit")
    assert (SIDES[SELL], ORD_TYPES[MARKET]) == ("sell", "market")
    assert (SIDES[SELL | MARKET], ORD_TYPES[SELL | MARKET]) == ("sell", "market")


def test_time_never_runs_back_and_absent_ids_are_never_served() -> None:
    tape = tape_of([10])
    with pytest.raises(AssertionError, match="in order of time"):
        tape.append(9, price=1, qty=1, mark=0)
    with pytest.raises(AssertionError, match="has no ids"):
        list(tape.rows(Span(1, 2)))


def test_a_finer_listing_scales_the_past_and_keeps_what_it_was_worth() -> None:
    tape = Tape(pair_of("A/B", pair_decimals=2, lot_decimals=8))
    tape.append(5, price=12345, qty=1, mark=0)
    tape.relist(pair_of("A/B", pair_decimals=4, lot_decimals=8), at_ns=10)
    assert (tape.price_digits, tape.prices[0], tape.socket_digits) == (4, 1234500, 4)


def test_the_digits_of_a_moment_are_those_listed_then() -> None:
    tape = Tape(pair_of("A/B", pair_decimals=2, lot_decimals=8))
    tape.relist(pair_of("A/B", pair_decimals=4, lot_decimals=8), at_ns=10)
    tape.relist(pair_of("A/B", pair_decimals=1, lot_decimals=8), at_ns=20)
    assert [tape.decimals_at(time_ns) for time_ns in (-1, 0, 9, 10, 19, 20, 99)] == [2, 2, 2, 4, 4, 1, 1]
    assert tape.price_digits == 4


def test_skipped_ids_are_nowhere_and_all_others_keep_their_places() -> None:
    tape = tape_of([0, 1, 2], first_id=3)
    for count, times in ((2, [3, 4]), (1, []), (1, [5])):
        tape.skip(count)
        for time_ns in times:
            tape.append(time_ns, price=10, qty=10, mark=0)
    made = [3, 4, 5, 8, 9, 12]
    assert [row[0] for row in tape.rows(Span(3, 12))] == made
    assert [row[0] for row in tape.rows(Span(5, 9))] == [5, 8, 9]
    assert [tape.time_ns(trade_id) for trade_id in made] == [0, 1, 2, 3, 4, 5]
    assert (tape.span, tape.next_id, len(tape)) == (Span(3, 12), 13, 6)
    for index, trade_id in enumerate(made):
        assert tape.page(index, count=2, inclusive=True) == Span(trade_id, made[min(index + 1, 5)])
        assert tape.newest(6 - index) == Span(trade_id, 12)
