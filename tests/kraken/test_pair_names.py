from __future__ import annotations

from typing import Any

import pytest

from recorder.core.model import Instrument
from recorder.errors import Refused, UnknownPair
from recorder.kraken.pair_names import PairNames, meant, v2_symbol
from tests.builders import instrument


def test_only_bitcoin_and_dogecoin_are_spelt_differently_in_v2(listing_json: dict[str, dict[str, Any]]) -> None:
    legs = [leg for entry in listing_json.values() for leg in entry["wsname"].split("/")]
    assert (legs.count("XBT"), legs.count("XDG")) == (46, 8)
    for entry in listing_json.values():
        symbol = v2_symbol(entry["wsname"])
        old_legs, new_legs = entry["wsname"].split("/"), symbol.split("/")
        assert new_legs == [{"XBT": "BTC", "XDG": "DOGE"}.get(leg, leg) for leg in old_legs]
        assert v2_symbol(symbol) == symbol


def test_all_1218_pairs_are_found_by_all_their_names_in_any_case(
    listed: list[Instrument], listing_json: dict[str, dict[str, Any]]
) -> None:
    listing = PairNames(listed)
    assert len(listing) == len(list(listing)) == 1218
    for key, entry in listing_json.items():
        found = listing.resolve(key)
        assert (found.key, found.altname, found.wsname) == (key, entry["altname"], entry["wsname"])
        names = (key, entry["altname"], entry["wsname"], found.pair, v2_symbol(entry["wsname"]))
        for name in names:
            assert listing.resolve(name) is found
            assert listing.resolve(name.lower()) is found
            assert listing.resolve(f" {name.title()} ") is found


def test_names_half_old_and_half_new_are_understood(listed: list[Instrument]) -> None:
    assert PairNames(listed).resolve("XDG/BTC").pair == "DOGE/BTC"
    assert PairNames(listed).resolve("doge/xbt").pair == "DOGE/BTC"


def test_concatenated_names_are_looked_up_and_not_cut(listed: list[Instrument]) -> None:
    listing = PairNames(listed)
    for name, pair in (("ETHPYUSD", "ETH/PYUSD"), ("XRPRLUSD", "XRP/RLUSD")):
        assert listing.resolve(name).pair == pair


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BTC/USDD", "did you mean BTC/USD"),
        ("BTCUSD", "did you mean"),
        ("ETHUER", "did you mean"),
        ("", "write it as BASE/QUOTE, like BTC/USD"),
        ("what is this even", "write it as BASE/QUOTE, like BTC/USD"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(listed: list[Instrument], name: str, hint: str) -> None:
    with pytest.raises(UnknownPair, match="Kraken lists no pair") as caught:
        PairNames(listed).resolve(name)
    assert repr(name) in str(caught.value)
    assert hint in str(caught.value)
    assert caught.value.pair == name
    assert isinstance(caught.value, Refused)


def test_a_hint_names_each_pair_once(listed: list[Instrument]) -> None:
    with pytest.raises(UnknownPair) as caught:
        PairNames(listed).resolve("XBTUSDX")
    hinted = str(caught.value).split("did you mean ")[1].rstrip("?").split(" or ")
    assert len(hinted) == len(set(hinted))


def test_two_names_that_differ_by_case_alone_are_two_pairs() -> None:
    stock, coin = instrument("AAPLx/USD"), instrument("AAPLX/USD")
    for listed in ([stock, coin], [coin, stock]):
        listing = PairNames(listed)
        assert listing.resolve("AAPLx/USD") is stock
        assert listing.resolve("AAPLX/USD") is coin
        assert listing.resolve("AAPLxUSD") is stock


def test_a_name_in_use_means_its_bearer_and_not_the_key_that_a_renamed_market_kept() -> None:
    renamed, heir = instrument("LUNC/USD", key="LUNAUSD"), instrument("LUNA/USD", key="LUNA2USD")
    for listed in ([renamed, heir], [heir, renamed]):
        listing = PairNames(listed)
        for name in ("LUNA/USD", "LUNAUSD", "lunausd", "LUNA2USD"):
            assert listing.resolve(name) is heir
        assert listing.resolve("LUNCUSD") is renamed


def test_an_empty_listing_knows_nothing() -> None:
    with pytest.raises(UnknownPair, match="write it as BASE/QUOTE"):
        PairNames([]).resolve("BTC/USD")


def test_any_name_of_a_listed_pair_means_that_pair_alone_in_any_spelling(listed: list[Instrument]) -> None:
    names = {one.pair: {one.key, one.altname, one.wsname} for one in listed}
    for one in listed[::100]:
        for name in (one.pair, one.key, one.altname, one.wsname):
            for spelt in (name, name.lower(), name.replace("/", "-"), f" {name.replace('/', '')} "):
                assert meant(spelt, names) == [one.pair]
    assert meant("xdg-xbt", names) == ["DOGE/BTC"]
    assert meant("BTC/USDD", names) == []


def test_an_exact_name_comes_before_other_spellings() -> None:
    names = {"AAPLx/USD": ["AAPLxUSD"], "AAPLX/USD": ["AAPLXUSD"], "B/A": ["AAPLxusd"]}
    assert meant("AAPLX/USD", names) == ["AAPLX/USD"]
    assert meant("AAPLxUSD", names) == ["AAPLx/USD"]
    assert meant("aaplx/usd", names) == ["AAPLx/USD", "AAPLX/USD", "B/A"]
