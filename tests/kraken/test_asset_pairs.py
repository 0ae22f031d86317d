from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.errors import Malformed
from recorder.kraken import asset_pairs
from tests.kraken.rest_answers import result_of


@pytest.mark.parametrize(
    ("name", "pairs", "without_wsname"),
    [
        ("full_2015-03", 14, 14),
        ("xchange_old", 86, 11),
        ("full_2021-04-17", 304, 11),
        ("three_pairs_2023-11", 3, 0),
        ("full_1114pairs_2025-07-23", 1114, 0),
        ("full_1218pairs_2025-09-11", 1218, 0),
        ("XBTUSDT_2025-11", 1, 0),
        ("tokenized_AAPLxUSD_fixture", 1, 0),
        ("five_pairs_2026-07-07", 5, 0),
        ("five_pairs_2026-09-25", 5, 0),
    ],
)
def test_the_listing_of_every_year_is_read(payloads: Path, name: str, pairs: int, without_wsname: int) -> None:
    path = payloads / f"rest/AssetPairs/{name}.json"
    said = json.loads(path.read_bytes())["result"]
    assert len(said) == pairs
    read = asset_pairs.parse_listing(result_of(path)).entries
    assert len(read) == pairs - without_wsname
    for instrument in read:
        entry = said[instrument.key]
        assert (instrument.altname, instrument.wsname) == (entry["altname"], entry["wsname"])
        assert (instrument.base, instrument.quote) == (entry["base"], entry["quote"])
        assert (instrument.pair_decimals, instrument.lot_decimals) == (entry["pair_decimals"], entry["lot_decimals"])
        assert instrument.status == entry.get("status", "online")
        for kept, printed in (("tick_size", "tick_size"), ("ordermin", "ordermin"), ("costmin", "costmin")):
            text = getattr(instrument, kept)
            assert (None if text is None else Decimal(text)) == (
                None if printed not in entry else Decimal(entry[printed])
            )


def test_a_listing_that_only_prints_differently_is_no_change() -> None:
    entry = '{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,'
    entry += '"lot_decimals":8,"tick_size":"%s","ordermin":"%s"}}'
    one = asset_pairs.parse_listing((entry % ("0.1", "0.00005")).encode()).entries
    other = asset_pairs.parse_listing((entry % ("0.10", "5e-05")).encode()).entries
    assert one == other
    assert (one[0].pair, one[0].ordermin, one[0].costmin, one[0].status) == ("BTC/USD", "0.00005", None, "online")


@pytest.mark.parametrize("result", [b"[]", b'{"X":{}}', b'{"X":5}', b'{"X":' + b"[" * 100_000, b"\xff"])
def test_a_listing_that_cannot_be_read_is_refused_by_a_sentence(result: bytes) -> None:
    with pytest.raises(Malformed, match=r"^an answer of AssetPairs .*cannot be read"):
        asset_pairs.parse_listing(result)


ENTRY = '"%s":{"altname":"%s","wsname":"%s/USD","base":"X","quote":"ZUSD","pair_decimals":1,"lot_decimals":8%s}'


@pytest.mark.parametrize(
    ("field", "because"),
    [
        ('"tick_size":"none"', "'none' is no number"),
        ('"tick_size":"NaN"', "'NaN' is no number"),
        ('"tick_size":{}', "is no number"),
        ('"tick_size":1E+900000000', "'1E+900000000' is no number that can be held"),
        ('"ordermin":"1e-13"', "ordermin '1e-13' does not fit"),
        ('"costmin":true', "'true' is no number"),
        ('"cost_decimals":2147483648', "<= 100"),
        ('"status":null', "status"),
        ('"status":5', "status"),
        ('"base":""', "base"),
    ],
)
def test_one_odd_entry_costs_that_entry_and_its_pair_can_be_recorded_all_the_same(field: str, because: str) -> None:
    odd, good = ENTRY % ("ODD", "ODDUSD", "ODD", f",{field}"), ENTRY % ("Y", "YUSD", "Y", "")
    for text in (f"{{{odd},{good}}}", f"{{{good},{odd}}}"):
        read = asset_pairs.parse_listing(text.encode())
        assert [one.pair for one in read.entries] == ["Y/USD"]
        (found,) = read.odd.values()
        assert because in found.reason
        assert found.reason.startswith("the entry of ODD cannot be read: ")
        assert found.raw == odd.partition(":")[2].encode()
        assert found.names == {"ODD", "ODDUSD", "ODD/USD"}
        assert found.bare is not None
        assert (found.bare.pair, found.bare.altname, found.bare.pair_decimals) == ("ODD/USD", "ODDUSD", 1)
        assert (found.bare.tick_size, found.bare.status) == (None, "online")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"pair_decimals":1', '"pair_decimals":null'),
        ('"pair_decimals":1', '"pair_decimals":-1'),
        ('"pair_decimals":1', '"pair_decimals":2147483648'),
        ('"altname":"ODDUSD"', '"altname":5'),
        ('"altname":"ODDUSD"', f'"altname":"{"x" * 300}"'),
        ('"wsname":"ODD/USD"', '"wsname":"ODDUSD"'),
        ('"wsname":"ODD/USD"', '"wsname":"/"'),
        ('"wsname":"ODD/USD"', '"wsname":[]'),
        ('"wsname":"ODD/USD"', f'"wsname":"{"x" * 300}/USD"'),
        ('"wsname":"ODD/USD"', '"wsname":"O\\u0000D/USD"'),
        ('"ODD":', f'"{"K" * 300}":'),
        (ENTRY[5:] % ("ODDUSD", "ODD", ""), "null"),
        (ENTRY[5:] % ("ODDUSD", "ODD", ""), "5"),
    ],
)
def test_an_entry_of_which_too_little_can_be_read_is_no_pair(old: str, new: str) -> None:
    odd = (ENTRY % ("ODD", "ODDUSD", "ODD", "")).replace(old, new)
    assert new in odd
    read = asset_pairs.parse_listing(f"{{{ENTRY % ('Y', 'YUSD', 'Y', '')},{odd}}}".encode())
    assert [one.pair for one in read.entries] == ["Y/USD"]
    (found,) = read.odd.values()
    assert found.bare is None
    assert len(found.reason) <= 300
    assert all(len(name) <= 64 for name in [*found.names, *read.odd])


def test_numbers_may_be_text_or_numbers_and_new_fields_and_nulls_are_passed_over() -> None:
    more = ',"tick_size":0.10,"ordermin":"5e-05","costmin":null,"cost_decimals":null,"wsname2":[{}],"aclass_base":null'
    (one,) = asset_pairs.parse_listing(f"{{{ENTRY % ('X', 'XUSD', 'X', more)}}}".encode()).entries
    assert (one.tick_size, one.ordermin, one.costmin, one.asset_class) == ("0.1", "0.00005", None, "currency")


def test_entries_of_the_exchanges_own_venue_come_first() -> None:
    venues = ("bitnomial-exchange", "international", None, "new")
    text = ",".join(
        ENTRY % (f"K{at}", "XUSD", "X", "" if venue is None else f',"execution_venue":"{venue}"')
        for at, venue in enumerate(venues)
    )
    assert [one.key for one in asset_pairs.parse_listing(f"{{{text}}}".encode()).entries] == ["K1", "K2", "K0", "K3"]


def test_a_tokenized_asset_is_listed_with_its_class(payloads: Path) -> None:
    result = result_of(payloads / "rest/AssetPairs/tokenized_AAPLxUSD_fixture.json")
    (one,) = asset_pairs.parse_listing(result, "tokenized_asset").entries
    assert (one.pair, one.altname, one.asset_class) == ("AAPLx/USD", "AAPLxUSD", "tokenized_asset")
    assert asset_pairs.parse_listing(b"[]", "tokenized_asset").entries == ()
