from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.sandbox.market import CHARACTERS
from recorder.sandbox.pairs import SandboxListing, listed, pair_of, some


def test_the_default_pairs_have_the_names_that_have_broken_clients() -> None:
    names = {c.pair.symbol: (c.pair.key, c.pair.altname, c.pair.fields["wsname"]) for c in CHARACTERS}
    assert names["BTC/USD"] == ("XXBTZUSD", "XBTUSD", "XBT/USD")
    assert names["DOGE/USD"] == ("XDGUSD", "XDGUSD", "XDG/USD")
    assert names["ETH/EUR"] == ("XETHZEUR", "ETHEUR", "ETH/EUR")


@pytest.mark.parametrize(("decimals", "tick"), [(0, "1"), (1, "0.1"), (10, "0.0000000001")])
def test_the_tick_is_printed_without_an_exponent(decimals: int, tick: str) -> None:
    assert pair_of("A/B", pair_decimals=decimals, lot_decimals=8).fields["tick_size"] == tick


def test_rest_prints_more_digits_where_cost_decimals_would_cut_a_price() -> None:
    assert pair_of("BTC/USD", pair_decimals=1, lot_decimals=8).rest_digits == 5
    assert pair_of("BONK/USD", pair_decimals=9, lot_decimals=5, cost_decimals=5).rest_digits == 12


def test_a_listing_finds_altname_key_and_v2_symbol_in_any_case_but_not_the_wsname() -> None:
    listing = SandboxListing([CHARACTERS[0].pair])
    for name in ("XBTUSD", "XXBTZUSD", "BTC/USD", "xbtusd", "btc/usd", " xxbtzusd"):
        assert listing.named(name) is CHARACTERS[0].pair
    assert listing.named("XBT/USD") is None
    assert "BTC/USD" in listing
    assert "XBTUSD" not in listing


def test_every_real_pair_is_found_by_three_names_and_has_exact_digits(payloads: Path) -> None:
    answer = json.loads((payloads / "rest/AssetPairs/full_1218pairs_2025-09-11.json").read_text())
    pairs = [listed(key, fields) for key, fields in answer["result"].items()]
    listing = SandboxListing(pairs)
    assert len(listing.pairs) == 1218
    for pair in pairs:
        assert all(listing.named(name) == pair for name in (pair.key, pair.altname, pair.symbol))
        assert pair.rest_digits >= pair.pair_decimals
    assert listing["DOGE/USD"].altname == "XDGUSD"
    assert listing["ETH/BTC"].key == "XETHXXBT"


def test_an_invented_listing_entry_has_every_field_of_a_real_one_with_the_same_kinds(payloads: Path) -> None:
    real = json.loads((payloads / "rest/AssetPairs/five_pairs_2026-09-25.json").read_text())["result"]["XXBTZUSD"]
    ours = CHARACTERS[0].pair.fields
    limits = {"long_position_limit", "short_position_limit"}
    assert set(real) - limits == set(ours)
    assert {name: type(ours[name]) for name in ours} == {name: type(real[name]) for name in ours}
    for name in ("key", "altname", "wsname", "base", "quote", "pair_decimals", "lot_decimals", "cost_decimals"):
        assert ours.get(name) == real.get(name)
    assert Decimal(str(ours["tick_size"])) == Decimal(real["tick_size"])


def test_new_digits_bring_their_tick_along_unless_one_is_given() -> None:
    pair = pair_of("A/B", pair_decimals=1, lot_decimals=8)
    assert pair.changed(pair_decimals=3).fields["tick_size"] == "0.001"
    assert pair.changed(pair_decimals=3, tick_size="0.005").tick_size == Decimal("0.005")
    assert pair.changed(status="cancel_only").fields["tick_size"] == "0.1"


def test_a_new_wsname_makes_another_symbol_and_leaves_the_key() -> None:
    pair = pair_of("DOGE/USD", pair_decimals=1, lot_decimals=8).changed(altname="DOGEUSD", wsname="SHIBE/USD")
    assert (pair.symbol, pair.key, pair.altname) == ("SHIBE/USD", "XDGUSD", "DOGEUSD")


def test_of_very_many_pairs_the_first_are_named() -> None:
    listing = SandboxListing(pair_of(f"A{n}/B", pair_decimals=1, lot_decimals=8) for n in range(25))
    assert some(listing).startswith("A0/B, A1/B, ")
    assert some(listing).endswith(", A19/B and 5 more")
