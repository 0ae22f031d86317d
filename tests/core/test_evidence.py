from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core import evidence
from recorder.core.evidence import (
    LAST_US,
    Anchored,
    Confirmed,
    Disowned,
    Joined,
    Knowledge,
    NumberingSettled,
    Parked,
    Promise,
    Promised,
    Reclaimed,
    Void,
    promise,
)
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans

IDS = st.integers(1, 2**63 - 1)
VOIDS = st.tuples(IDS, IDS).map(lambda ends: Void("BTC/USD", Span(min(ends), max(ends))))
PARKED = VOIDS.map(lambda void: Parked(void.pair, void.span))
TIMES = st.integers(0, LAST_US)
CONFIRMED = st.builds(Confirmed, st.just("ETH/EUR"), IDS, TIMES)
PROMISED = st.builds(Promised, st.just("ETH/EUR"), TIMES)
ANCHORED = st.builds(Anchored, st.just("ETH/EUR"), TIMES, st.just(0) | IDS, st.booleans())


def event_of(known: Knowledge, **more: object) -> Event:
    return Event(0, evidence.kind(known), known.pair, json.dumps({**evidence.detail(known), **more}))


DISOWNED = st.builds(lambda void, us, why: Disowned(void.pair, void.span, us, why), VOIDS, TIMES, st.text())
RECLAIMED = st.builds(lambda void, us: Reclaimed(void.pair, void.span, us), VOIDS, TIMES)


JOINED = st.builds(Joined, st.just("ETH/EUR"), st.just(0) | IDS, TIMES)


@given(VOIDS | CONFIRMED | PROMISED | ANCHORED | PARKED | DISOWNED | RECLAIMED | JOINED)
def test_what_an_event_tells_is_what_was_known(known: Knowledge) -> None:
    assert evidence.from_event(event_of(known)) == known
    assert evidence.from_event(event_of(known, evidence=[{"since": "0"}])) == known


@pytest.mark.parametrize(
    "event",
    [
        Event(0, "connected", None, "{}"),
        Event(0, "connected", "BTC/USD", '{"first_id":1,"last_id":2}'),
        Event(0, "void", None, '{"first_id":1,"last_id":2}'),
        Event(0, "void", "BTC/USD", '{"first_id":2,"last_id":1}'),
        Event(0, "void", "BTC/USD", '{"first_id":1}'),
        Event(0, "void", "BTC/USD", "not JSON"),
        Event(0, "confirmed", "BTC/USD", '{"last_id":"7","until_us":1}'),
        Event(0, "disowned", "BTC/USD", '{"first_id":1,"last_id":2,"time_us":1}'),
        Event(0, "disowned", "BTC/USD", '{"first_id":1,"last_id":2,"reason":"disowned"}'),
        Event(0, "reclaimed", "BTC/USD", '{"first_id":2,"last_id":1,"time_us":1}'),
        Event(0, "promised", "BTC/USD", "{}"),
        Event(0, "promised", None, '{"time_us":1}'),
        Event(0, "promised", "BTC/USD", '{"time_us":-1}'),
        Event(0, "promised", "BTC/USD", f'{{"time_us":{LAST_US + 1}}}'),
        Event(0, "anchored", "BTC/USD", '{"time_us":1,"after_id":-1,"assumed":false}'),
        Event(0, "anchored", "BTC/USD", '{"time_us":1,"after_id":1}'),
    ],
)
def test_what_makes_no_sense_tells_nothing(event: Event) -> None:
    assert evidence.from_event(event) is None


SMALL = st.integers(0, 4)
NOTES = st.lists(
    st.builds(Promised, st.just("A/B"), SMALL) | st.builds(Anchored, st.just("A/B"), SMALL, SMALL), max_size=6
)


@given(NOTES)
def test_the_earliest_promise_counts_and_no_anchor_of_a_later_one(notes: list[Promised | Anchored]) -> None:
    moments = [one.time_us for one in notes if isinstance(one, Promised)]
    found = promise(notes)
    assert found == promise(reversed(notes))
    if found is None:
        assert not moments
        return
    assert found.time_us == min(moments)
    anchors = [one.after_id for one in notes if isinstance(one, Anchored) and one.time_us <= found.time_us]
    assert found.after_id == min(anchors, default=None)


def test_an_anchor_is_of_no_use_without_its_promise_and_once_an_earlier_one_is_known() -> None:
    anchor = Anchored("A/B", 5, 70)
    assert promise([anchor]) is None
    assert promise([anchor, Promised("A/B", 5)]) == Promise(5, 70)
    assert promise([anchor, Promised("A/B", 5), Promised("A/B", 4)]) == Promise(4)


CLAIMS = st.lists(
    st.builds(
        lambda first, more, us, again: (
            Reclaimed("A/B", Span(first, first + more), us)
            if again
            else Disowned("A/B", Span(first, first + more), us, "")
        ),
        st.integers(1, 9),
        st.integers(0, 3),
        SMALL,
        st.booleans(),
    ),
    max_size=8,
)


@given(CLAIMS)
def test_of_what_was_claimed_of_an_id_the_latest_counts_whatever_came_first(claims: list[Disowned | Reclaimed]) -> None:
    found = evidence.disowned(claims)
    assert found == evidence.disowned(reversed(claims))
    for trade_id in range(1, 14):
        told = [(one.time_us, isinstance(one, Reclaimed)) for one in claims if trade_id in one.span]
        assert (trade_id in found) == (bool(told) and not max(told)[1])


def test_ids_are_joined_from_the_lowest_one_on_unless_they_are_numbered_anew_since() -> None:
    claims = [Joined("A/B", 70, 1), Joined("A/B", 40, 5), Joined("A/B", 60, 9)]
    assert evidence.joined_after(claims) == 40
    assert evidence.joined_after([*claims, NumberingSettled("A/B", 6, anew=False)]) == 40
    assert evidence.joined_after([*claims, NumberingSettled("A/B", 6, anew=True)]) == 60
    assert evidence.joined_after([*claims, NumberingSettled("A/B", 9, anew=True)]) is None


@given(CLAIMS, SMALL)
def test_a_claim_that_is_made_now_counts_though_the_clock_was_set_back(
    claims: list[Disowned | Reclaimed], now_us: int
) -> None:
    ids = Span(1, 20)
    now_us = evidence.after_us(claims, now_us)
    assert evidence.disowned([*claims, Disowned("A/B", ids, now_us, "")]) == Spans([ids])
    assert not evidence.disowned([*claims, Reclaimed("A/B", ids, now_us)])
