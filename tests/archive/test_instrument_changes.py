from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.instrument_changes import changes
from recorder.core.model import TOKENIZED, Event, Instrument
from recorder.core.pair_registry import DELISTED, Rival
from tests.archive.listings import BTC, ETH
from tests.builders import listed

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
        pytest.param([BTC, ETH], [ETH], [], [], id="absent changes nothing"),
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
        pytest.param([BTC, ETH], [], [], [], id="nor does a listing of nothing"),
    ],
)
def test_a_listing_is_told_by_what_it_changes(
    before: list[Instrument], listing: list[Instrument], rows: list[Instrument], events: list[object]
) -> None:
    found = changes(known(*before), listed(*listing), 1)
    assert list(found.rows) == rows
    assert told(found.events) == events
    assert found.rivals == ()


def test_of_two_entries_with_one_symbol_one_counts_and_the_rivals_are_told() -> None:
    other = msgspec.structs.replace(BTC, key="XBTUSD.B")
    found = changes(known(BTC), listed(other, FINER), 1)
    assert found.rows == (FINER,)
    assert found.rivals == (Rival("BTC/USD", "XXBTZUSD", "XBTUSD.B"),)


def test_the_asset_class_is_not_archived_and_no_change() -> None:
    stock = msgspec.structs.replace(BTC, asset_class=TOKENIZED)
    assert changes({}, listed(stock), 1).rows == (BTC,)
    assert changes(known(BTC), listed(stock), 1).rows == ()


def test_pairs_that_were_all_renamed_are_not_lacking() -> None:
    renamed = [msgspec.structs.replace(one, pair=f"X{one.pair}") for one in many(30)]
    found = changes(known(*many(30)), listed(*renamed), 1)
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
        found = changes(held, listed(*listing), 1)
        rows = {row.pair: row for row in found.rows}
        assert len(rows) == len(found.rows)
        assert all(held.get(pair) != row for pair, row in rows.items())
        assert len(found.events) == (len(rows) if held else 0)
        held |= rows
        assert all(held[one.pair] == one for one in listing)
        again = changes(held, listed(*listing), 1)
        assert (again.rows, again.events) == ((), ())
