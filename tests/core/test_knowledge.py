from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core import knowledge
from recorder.core.ids import Span
from recorder.core.knowledge import Confirmed, Knowledge, Parked, Void
from recorder.core.model import Event

IDS = st.integers(1, 2**63 - 1)
VOIDS = st.tuples(IDS, IDS).map(lambda ends: Void("BTC/USD", Span(min(ends), max(ends))))
PARKED = VOIDS.map(lambda void: Parked(void.pair, void.span))
CONFIRMED = st.builds(Confirmed, st.just("ETH/EUR"), IDS, st.integers(0, 2**62))


def event_of(known: Knowledge, **more: object) -> Event:
    return Event(0, knowledge.kind(known), known.pair, json.dumps({**knowledge.detail(known), **more}))


@given(VOIDS | CONFIRMED | PARKED)
def test_what_an_event_tells_is_what_was_known(known: Knowledge) -> None:
    assert knowledge.told(event_of(known)) == known
    assert knowledge.told(event_of(known, evidence=[{"since": "0"}])) == known


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
    ],
)
def test_what_makes_no_sense_tells_nothing(event: Event) -> None:
    assert knowledge.told(event) is None
