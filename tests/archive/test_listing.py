from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.listing import DELISTED, FEW, changes
from recorder.core.model import Event, Instrument
from tests.archive.listings import BTC, ETH

XBT = msgspec.structs.replace(BTC, pair="XBT/USD")
GONE = msgspec.structs.replace(BTC, status=DELISTED)
FINER = msgspec.structs.replace(BTC, tick_size="0.01", pair_decimals=2)


def known(*instruments: Instrument) -> dict[str, Instrument]:
    return {instrument.pair: instrument for instrument in instruments}


def many(count: int) -> list[Instrument]:
    return [msgspec.structs.replace(BTC, pair=f"P{n}/USD", key=f"P{n}USD") for n in range(count)]


def told(events: Sequence[Event]) -> list[tuple[str, str | None, dict[str, object]]]:
    return [(event.kind, event.pair, json.loads(event.detail)) for event in events]


@pytest.mark.parametrize(
    ("before", "listing", "rows", "events"),
    [
        pytest.param([], [BTC, ETH], [BTC, ETH], [], id="the first listing of all is no news"),
        pytest.param([BTC], [BTC], [], [], id="nothing changed"),
        pytest.param([BTC], [BTC, ETH], [ETH], [("listed", "ETH/USD", {"status": "online"})], id="listed"),
        pytest.param([BTC, ETH], [ETH], [GONE], [("delisted", "BTC/USD", {})], id="delisted"),
        pytest.param([GONE, ETH], [ETH], [], [], id="still delisted"),
        pytest.param([GONE, ETH], [BTC, ETH], [BTC], [("listed", "BTC/USD", {"status": "online"})], id="listed again"),
        pytest.param(
            [BTC],
            [FINER],
            [FINER],
            [("listing_changed", "BTC/USD", {"pair_decimals": [1, 2], "tick_size": ["0.1", "0.01"]})],
            id="changed",
        ),
        pytest.param(
            [XBT, ETH],
            [ETH, BTC],
            [BTC, msgspec.structs.replace(XBT, status=DELISTED)],
            [("renamed", "BTC/USD", {"from": "XBT/USD", "to": "BTC/USD"}), ("delisted", "XBT/USD", {})],
            id="renamed",
        ),
        pytest.param([BTC, ETH], [GONE, ETH], [GONE], [("delisted", "BTC/USD", {})], id="listed as delisted"),
        pytest.param(
            [BTC, ETH],
            [],
            [GONE, msgspec.structs.replace(ETH, status=DELISTED)],
            [("delisted", "BTC/USD", {}), ("delisted", "ETH/USD", {})],
            id="so few may all vanish",
        ),
    ],
)
def test_a_listing_is_told_by_what_it_changes(
    before: list[Instrument], listing: list[Instrument], rows: list[Instrument], events: list[object]
) -> None:
    found = changes(known(*before), listing, 1)
    assert list(found.rows) == rows
    assert told(found.events) == events
    assert found.disbelief is None


@pytest.mark.parametrize(
    ("listed", "left", "believed"), [(20, 10, True), (20, 9, False), (17, 8, True), (18, 8, False)]
)
def test_a_listing_that_lacks_more_than_half_is_not_believed(listed: int, left: int, *, believed: bool) -> None:
    new = msgspec.structs.replace(ETH, pair="NEW/USD", key="NEW")
    assert FEW == 10
    found = changes(known(*many(listed)), [*many(left), new], 1)
    gone = listed - left
    if believed:
        assert found.disbelief is None
        assert [event.kind for event in found.events] == ["listed"] + gone * [DELISTED]
    else:
        assert found.disbelief == f"the listing lacks {gone} of {listed} pairs that were listed: not believed"
        assert told(found.events) == [("listed", "NEW/USD", {"status": "online"})], "what it does list counts"


def test_pairs_that_were_all_renamed_are_not_lacking() -> None:
    renamed = [msgspec.structs.replace(one, pair=f"X{one.pair}") for one in many(30)]
    found = changes(known(*many(30)), renamed, 1)
    assert found.disbelief is None
    assert sum(event.kind == "renamed" for event in found.events) == 30


instruments = st.builds(
    lambda name, key, status: msgspec.structs.replace(BTC, pair=name, key=key, status=status),
    st.sampled_from("ABCD"),
    st.sampled_from("abcd"),
    st.sampled_from(["online", "cancel_only", DELISTED]),
)
listings = st.lists(instruments, max_size=5, unique_by=(lambda one: one.pair, lambda one: one.key))


@given(sequence=st.lists(listings, max_size=6))
def test_whatever_is_listed_the_rows_end_in_it_and_nothing_is_told_twice(sequence: list[list[Instrument]]) -> None:
    held: dict[str, Instrument] = {}
    for listing in sequence:
        found = changes(held, listing, 1)
        rows = {row.pair: row for row in found.rows}
        assert len(rows) == len(found.rows)
        assert all(held.get(pair) != row for pair, row in rows.items())
        assert len(found.events) == (len(rows) if held else 0)
        held |= rows
        assert {pair: row for pair, row in held.items() if row.status != DELISTED} == {
            one.pair: one for one in listing if one.status != DELISTED
        }
        again = changes(held, listing, 1)
        assert (again.rows, again.events) == ((), ())
