from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from unittest.mock import patch
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.kraken import rest_api
from recorder.kraken.anchor_search import REQUESTS, AnchorSearch
from recorder.kraken.trade_pages import TradesPage
from tests.builders import BTC

PAIR = BTC.pair
NOW_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000


def trade(trade_id: int, time_us: int) -> Trade:
    return Trade(PAIR, trade_id, time_us, Decimal(1), Decimal(1), "buy", "limit", "", "rest", None)


def page_of(request: rest_api.Request, made: Sequence[Trade]) -> TradesPage:
    """Answer as the exchange does: from ``since`` on, or the newest."""
    query = parse_qs(request.target.partition("?")[2])
    if "since" not in query:
        return TradesPage(tuple(made[-rest_api.PAGE_LIMIT :]), None)
    since_us = int(query["since"][0]) // 1000
    return TradesPage(tuple([one for one in made if one.time_us >= since_us][: rest_api.PAGE_LIMIT]), None)


def looked(time_us: int, made: Sequence[Trade]) -> tuple[int | None, int]:
    """Return the anchor that a look finds at an exchange with these trades, and how many requests it took."""
    look, asked = AnchorSearch(time_us, BTC), 0
    while (request := look.request()) is not None:
        asked += 1
        look.add_page(page_of(request, made))
    return look.after_id, asked


LIMIT = 10
STEPS = st.sampled_from([0, 1, 1000, 200_000, MINUTE_US, 10**11, 10**14])


@st.composite
def markets(draw: st.DrawFn) -> list[Trade]:
    """Trades in the order of their ids, from instants to years apart, with ids that never existed."""
    trade_id, time_us, made = 0, 1_400_000_000_000_000, list[Trade]()
    for skipped, apart_us in draw(st.lists(st.tuples(st.integers(1, 3), STEPS), max_size=80)):
        one_instant = len(made) >= LIMIT // 2 and made[-LIMIT // 2].time_us == time_us
        trade_id, time_us = trade_id + skipped, time_us + (apart_us or one_instant)
        made.append(trade(trade_id, time_us))
    return made


@given(markets(), st.integers(0, 80), st.integers(-2, 2))
def test_the_anchor_is_the_highest_id_made_before_the_moment(made: list[Trade], which: int, near_us: int) -> None:
    time_us = (made[which % len(made)].time_us if made else NOW_US) + near_us
    with patch.object(rest_api, "PAGE_LIMIT", LIMIT):
        after_id, asked = looked(time_us, made)
    assert after_id == max((one.trade_id for one in made if one.time_us < time_us), default=0)
    assert asked <= REQUESTS // 2


@pytest.mark.parametrize(
    ("made", "after_id", "requests"),
    [
        ([trade(7, NOW_US - 1), trade(8, NOW_US)], 7, 1),
        ([trade(7, NOW_US - 1)], 7, 1),
        ([trade(7, NOW_US - 20 * MINUTE_US), trade(9, NOW_US)], 7, 3),
        ([], 0, 9),
        ([trade(3, NOW_US)], 0, 8),
    ],
)
def test_it_is_looked_for_from_a_minute_before_and_then_from_further_back(
    made: list[Trade], after_id: int, requests: int
) -> None:
    assert looked(NOW_US, made) == (after_id, requests)


def test_ids_above_one_that_is_promised_are_promised_whatever_their_times() -> None:
    made = [trade(5, NOW_US - 9), trade(6, NOW_US), trade(7, NOW_US - 1), trade(8, NOW_US)]
    assert looked(NOW_US, made)[0] == 5


def test_an_empty_answer_that_the_newest_page_contradicts_proves_nothing() -> None:
    look, made = AnchorSearch(NOW_US, BTC), [trade(7, NOW_US - 1)]
    while (request := look.request()) is not None:
        look.add_page(page_of(request, made) if "since" not in request.target else TradesPage((), None))
    assert look.after_id is None


def test_a_promise_from_1970_on_is_anchored_too() -> None:
    assert looked(0, [trade(7, NOW_US)]) == (0, 1)


def test_a_trade_with_an_odd_time_anchors_nothing() -> None:
    made = [trade(trade_id, NOW_US + (trade_id - 50) * MINUTE_US) for trade_id in range(1, 100)]
    made[79] = trade(80, 0)
    look = AnchorSearch(NOW_US, BTC)
    look.add_page(TradesPage(tuple(made[45:49] + made[79:80]), None))
    assert look.after_id == 49
