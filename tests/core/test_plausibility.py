from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.plausibility import (
    BACK_US,
    EARLIEST_US,
    FRAMES,
    IDS_PER_S,
    REACH_IDS,
    Arrivals,
    begin_us,
    is_far,
    is_far_gap,
    is_time,
    renumbered_from,
)
from recorder.core.trade_ids import Gap, Run, Span, Spans
from tests.archives import trade

PAIR = "BTC/USD"
S = 1_000_000
DAY_S = 86_400
NOW_US = 1_783_465_205 * S
IN_2102_US, IN_1970_US = 4_176_528_432 * S, 7 * S
LONE = 1 << 40


def run(first: int, last: int | None = None, at_us: int = NOW_US) -> Run:
    return Run(PAIR, Span(first, last or first), at_us, at_us)


def arrivals(last_id: int = 100, last_us: int = NOW_US, *parked: Span) -> Arrivals:
    known = Arrivals(parked)
    known.shown(last_id, last_us)
    return known


def test_an_id_is_far_beyond_what_the_time_since_the_last_explains() -> None:
    assert not is_far(100 + REACH_IDS, 100)
    assert is_far(101 + REACH_IDS, 100)
    assert not is_far(100 + REACH_IDS + 60 * IDS_PER_S, 100, 60 * S)
    assert is_far(101 + REACH_IDS + 60 * IDS_PER_S, 100, 60 * S)
    assert is_far(101 + REACH_IDS, 100, -DAY_S * S)


def test_a_lone_far_id_never_counts_and_keeps_nothing_else_from_counting() -> None:
    known = arrivals()
    assert not known.streamed(run(LONE), NOW_US)
    for trade_id in range(101, 200):
        assert known.streamed(run(trade_id), NOW_US)
        assert not known.streamed(run(LONE), NOW_US)  # however often it comes again
    assert not known.released()
    assert list(known.parked) == [Span(LONE, LONE)]


def test_after_three_months_down_the_first_frame_counts() -> None:
    known = arrivals()
    assert known.streamed(run(100 + 90 * DAY_S * 1000), NOW_US + 90 * DAY_S * S)


@pytest.mark.parametrize("received_us", [IN_1970_US, NOW_US, IN_2102_US])
def test_whatever_the_hosts_clock_says_ordinary_ids_count(received_us: int) -> None:
    known = arrivals()
    assert known.streamed(run(101), received_us)
    assert known.streamed(run(102 + REACH_IDS // 2), received_us)


@pytest.mark.parametrize("made_us", [-62_135_596_800 * S, 0, IN_2102_US])
def test_the_time_of_a_trade_parks_nothing(made_us: int) -> None:
    known = arrivals()
    assert known.streamed(run(101, at_us=made_us), NOW_US)
    assert known.streamed(run(102), NOW_US)


def test_ids_that_begin_at_one_again_are_not_parked() -> None:
    known = arrivals(LONE)
    assert known.streamed(run(1), NOW_US)


def test_far_ids_count_once_enough_frames_go_on_from_them() -> None:
    known = arrivals()
    first = 100 + 10 * REACH_IDS
    assert not known.streamed(run(first - 49, first), NOW_US)
    assert not known.streamed(run(first - 49, first), NOW_US)  # the same again is no sign
    for number in range(1, FRAMES):
        assert not known.streamed(run(first + number), NOW_US)
    assert not known.released()
    assert known.streamed(run(first + FRAMES), NOW_US)
    assert list(known.released()) == [Span(first - 49, first + FRAMES - 1)]
    assert not known.parked
    assert known.streamed(run(first + FRAMES + 1), NOW_US)


def test_far_ids_count_once_rest_shows_ids_up_to_there_and_no_farther_ones() -> None:
    known = arrivals()
    jumped = 100 + 10 * REACH_IDS
    assert not known.streamed(run(jumped), NOW_US)
    assert not known.streamed(run(LONE), NOW_US)
    known.shown(jumped - REACH_IDS, NOW_US)
    assert list(known.released()) == [Span(jumped, jumped)]
    assert list(known.parked) == [Span(LONE, LONE)]


def test_while_nothing_is_held_ids_that_go_on_are_believed_and_a_lone_high_one_is_not() -> None:
    assert Arrivals().streamed(run(61_044_952, 61_045_001), NOW_US)
    assert Arrivals().streamed(run(1), NOW_US)
    known = Arrivals()
    assert not known.streamed(run(LONE), NOW_US)
    assert known.streamed(run(7), NOW_US)
    known.shown(8, NOW_US)
    assert not known.released()


def test_what_was_parked_before_a_restart_is_released_after_it() -> None:
    known = arrivals(100, NOW_US, Span(LONE, LONE))
    assert not known.streamed(run(LONE + 1), NOW_US)
    assert known.streamed(run(LONE + 2), NOW_US)
    assert list(known.released()) == [Span(LONE, LONE + 1)]


@given(
    st.lists(st.tuples(st.sampled_from([0, 10 * REACH_IDS, LONE]), st.integers(1, 50), st.integers(0, 3)), max_size=40)
)
def test_every_id_counts_or_is_parked_or_was_released(frames: list[tuple[int, int, int]]) -> None:
    known, counted, came = arrivals(), Spans(), Spans()
    for base, first, more in frames:
        one = run(base + first, base + first + more)
        came.add(one.span)
        if known.streamed(one, NOW_US):
            counted.add(one.span)
        counted.update(known.released())
    for span in came:
        both = counted.copy()
        both.update(known.parked)
        assert both.covers(span)


def test_a_gap_is_far_by_the_times_next_to_it() -> None:
    ids = Span(101, 100 + 2 * REACH_IDS)
    assert is_far_gap(Gap(PAIR, ids, NOW_US, NOW_US))
    assert not is_far_gap(Gap(PAIR, ids, NOW_US, NOW_US + DAY_S * S))
    assert not is_far_gap(Gap(PAIR, ids, None, NOW_US))


# -- times ----------------------------------------------------------------------------------------------------------

ODD_US = [-62_135_596_800 * S, 0, EARLIEST_US - 1, IN_2102_US]


@pytest.mark.parametrize("odd_us", ODD_US)
def test_a_request_never_begins_at_an_odd_time(odd_us: int) -> None:
    assert not is_time(odd_us, NOW_US)
    assert is_time(NOW_US + 3600 * S, NOW_US)
    assert not is_time(NOW_US + 3601 * S, NOW_US)


def gap(after_us: int | None, before_us: int | None) -> Gap:
    return Gap(PAIR, Span(101, 200), after_us, before_us)


def test_a_gap_is_requested_from_the_trade_below_that_fits_the_one_above() -> None:
    assert begin_us(gap(NOW_US - 7 * S, NOW_US)) == NOW_US - 7 * S
    assert begin_us(gap(NOW_US + 7 * S, NOW_US)) == NOW_US + 7 * S  # times step back a little
    assert begin_us(gap(NOW_US, None)) == NOW_US
    assert begin_us(gap(NOW_US, IN_2102_US)) == NOW_US
    for odd_us in (0, EARLIEST_US - 1):
        assert begin_us(gap(NOW_US, odd_us), attempt=3) == NOW_US


@pytest.mark.parametrize("odd_us", ODD_US)
def test_where_the_time_below_is_odd_asking_begins_ever_further_before_the_one_above(odd_us: int) -> None:
    begins = [begin_us(gap(odd_us, NOW_US), attempt) for attempt in range(40)]
    assert begins[0] == NOW_US - BACK_US[0]
    assert min(begins) == EARLIEST_US
    assert all(is_time(begin, NOW_US) or begin == odd_us for begin in begins)


def test_of_two_times_that_do_not_go_together_each_is_tried() -> None:
    too_early_us = NOW_US - 13 * 365 * DAY_S * S
    begins = {begin_us(gap(NOW_US, too_early_us), attempt) for attempt in range(4)}
    assert NOW_US in begins
    assert too_early_us - BACK_US[1] in begins or EARLIEST_US in begins


def test_between_odd_times_alone_asking_begins_with_the_first_trade() -> None:
    assert begin_us(gap(0, -1)) == begin_us(gap(None, 0)) == EARLIEST_US


@pytest.mark.parametrize("below_us", [IN_2102_US, 0, -62_135_596_800 * S])
def test_between_trades_decades_ahead_requests_begin_ever_further_back(below_us: int) -> None:
    begins = [begin_us(gap(below_us, IN_2102_US), attempt, NOW_US) for attempt in range(14)]
    assert [begin for begin in begins if begin < NOW_US] == [max(EARLIEST_US, NOW_US - back_us) for back_us in BACK_US]
    assert begin_us(gap(0, 0), 1, NOW_US) == NOW_US - BACK_US[1]
    assert begin_us(gap(NOW_US, NOW_US), 0, 0) == NOW_US, "by a clock that is far behind nothing is judged"


def test_a_pair_is_numbered_anew_by_two_other_trades_in_a_row_and_not_by_other_stamps() -> None:
    held = [trade(one) for one in range(1, 5)]
    later = [msgspec.structs.replace(row, time_us=row.time_us + 7_000_000) for row in held]
    dearer = [msgspec.structs.replace(row, price=row.price + 1) for row in held]
    assert renumbered_from(zip(later, held, strict=True)) is None
    assert renumbered_from([(held[0], held[0]), (dearer[1], held[1]), (held[2], held[2]), (dearer[3], held[3])]) is None
    assert renumbered_from(zip([held[0], *dearer[1:]], held, strict=True)) == dearer[1]
