from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Instrument
from recorder.kraken import asset_pairs, rest_api
from recorder.kraken.pair_names import v2_symbol
from recorder.kraken.pair_patterns import is_pattern, matcher, select
from tests.builders import instrument


def changed(one: Instrument, **fields: object) -> Instrument:
    return msgspec.structs.replace(one, **fields)


BTC = instrument("XBT/USD", key="XXBTZUSD")
DOGE = instrument("XDG/USD")
ETH = instrument("ETH/XBT", key="XETHXXBT")
PYUSD = instrument("ETH/PYUSD")
STOCK = instrument("AAPLx/USD")
LISTED = [BTC, DOGE, ETH, PYUSD, STOCK]


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("*", ["BTC/USD", "DOGE/USD", "ETH/BTC", "ETH/PYUSD", "AAPLx/USD"]),
        ("*/*", ["BTC/USD", "DOGE/USD", "ETH/BTC", "ETH/PYUSD", "AAPLx/USD"]),
        ("*/USD", ["BTC/USD", "DOGE/USD", "AAPLx/USD"]),
        (" */usd ", ["BTC/USD", "DOGE/USD", "AAPLx/USD"]),
        ("*USD", ["BTC/USD", "DOGE/USD", "ETH/PYUSD", "AAPLx/USD"]),
        ("BTC/*", ["BTC/USD"]),
        ("xbt/*", ["BTC/USD"]),
        ("*/XBT", ["ETH/BTC"]),
        ("XDG/*", ["DOGE/USD"]),
        ("e*/*b*", ["ETH/BTC"]),
        ("aaplX/*", ["AAPLx/USD"]),
        ("XBT/USD", ["BTC/USD"]),
        ("xdgusd", ["DOGE/USD"]),
        ("XETHXXBT", ["ETH/BTC"]),
    ],
)
def test_a_name_or_pattern_means_these_pairs(name: str, pairs: list[str]) -> None:
    chosen = select([name], LISTED)
    assert list(chosen.pairs) == pairs
    assert chosen.matches == {name: tuple(pairs)}
    assert (chosen.unknown, chosen.too_fine, chosen.left_out) == ({}, {}, {})


def test_names_and_patterns_add_up_and_a_pair_meant_twice_is_recorded_once() -> None:
    chosen = select(["ETH/*", "XBTUSD", "ETHXBT", "*/USD"], LISTED)
    assert list(chosen.pairs) == ["ETH/BTC", "ETH/PYUSD", "BTC/USD", "DOGE/USD", "AAPLx/USD"]
    assert all(chosen.pairs[pair].pair == pair for pair in chosen.pairs)


@pytest.mark.parametrize("special", ["?TC/USD", "[BD]*/USD", "BTC.USD", "(*", "\\*", "BTC/USD|*"])
def test_nothing_but_the_star_is_special(special: str) -> None:
    assert select([special], LISTED).pairs == {}
    assert is_pattern(special) == ("*" in special)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("*/USDX", 'did you mean "*/USD" (3)'),
        ("*/EUSD", 'did you mean "*/USD" (3) or "*/PYUSD" (1)?'),
        ("BTCC/*", 'did you mean "BTC/*" (1)?'),
        ("this is*", 'write it like "*/USD", "BTC/*" or "*"'),
        ("BTC/USDD", "did you mean BTC/USD"),
    ],
)
def test_what_matches_nothing_is_unknown_and_says_what_would(name: str, hint: str) -> None:
    chosen = select([name, "BTC/USD"], LISTED)
    assert list(chosen.pairs) == ["BTC/USD"]
    assert list(chosen.unknown) == [name]
    assert repr(name) in chosen.unknown[name]
    assert hint in chosen.unknown[name]


STATUSES = ["online", "cancel_only", "post_only", "limit_only", "reduce_only", "maintenance", "some_new_word"]


@pytest.mark.parametrize("status", STATUSES)
def test_a_pattern_takes_every_status_in_which_a_pair_trades_or_may_again(status: str) -> None:
    one = changed(BTC, status=status)
    assert select(["*"], [one]).pairs == {"BTC/USD": one}


@pytest.mark.parametrize("status", ["delisted", "work_in_progress"])
def test_a_pattern_leaves_out_what_never_trades(status: str) -> None:
    chosen = select(["*/USD"], [changed(BTC, status=status), DOGE])
    assert list(chosen.pairs) == ["DOGE/USD"]
    assert chosen.unknown == {}
    chosen = select(["*/USD"], [changed(BTC, status=status)])
    assert chosen.pairs == {}
    assert f"BTC/USD ({status})" in chosen.unknown["*/USD"]


def test_a_named_pair_is_taken_before_its_first_trade_but_not_after_its_last() -> None:
    early = changed(BTC, status="work_in_progress")
    assert select(["BTC/USD"], [early]).pairs == {"BTC/USD": early}
    late = select(["BTC/USD"], [changed(BTC, status="delisted")])
    assert late.pairs == {}
    assert "BTC/USD (delisted)" in late.unknown["BTC/USD"]


@pytest.mark.parametrize("digits", [{"pair_decimals": 13}, {"lot_decimals": 9}])
def test_what_is_finer_than_the_schema_is_left_out_of_a_pattern_and_refused_by_name(digits: dict[str, int]) -> None:
    fine = changed(BTC, **digits)
    chosen = select(["*", "BTC/USD"], [fine, DOGE])
    assert list(chosen.pairs) == ["DOGE/USD"]
    assert chosen.left_out == {"BTC/USD": fine}
    assert list(chosen.too_fine) == ["BTC/USD"]
    assert "leave it out until the archive's schema is finer" in chosen.too_fine["BTC/USD"]
    assert select(["*/EUR", "DOGE/*"], [fine, DOGE]).left_out == {}
    fits = changed(BTC, pair_decimals=12, lot_decimals=8)
    assert select(["*"], [fits]).pairs == {"BTC/USD": fits}


@pytest.mark.parametrize("name", ["MATIC/USD", "maticusd", "MATIC/*", "*/USD", "*"])
def test_a_renamed_pair_is_followed_by_its_key_whoever_meant_it(name: str) -> None:
    old = instrument("MATIC/USD", key="MATICUSD")
    new = instrument("POL/USDG", key="MATICUSD")
    before = select([name], [old])
    after = select([name], [new], keys=before.keys)
    assert after.pairs == {"POL/USDG": new}
    assert after.unknown == {}
    again = select([name], [new], keys=after.keys)
    assert again.pairs == {"POL/USDG": new}
    assert list(select([name], [old, new]).keys[name]) == ["MATICUSD"], "the archive keeps both, under one key"


def test_a_pair_that_took_the_old_name_of_another_is_recorded_beside_it() -> None:
    before = select(["LUNA/USD"], [instrument("LUNA/USD", key="LUNAUSD")])
    heirs = [instrument("LUNC/USD", key="LUNAUSD"), instrument("LUNA/USD", key="LUNA2USD")]
    assert set(select(["LUNA/USD"], heirs, keys=before.keys).pairs) == {"LUNC/USD", "LUNA/USD"}


def test_a_name_remembers_its_key_while_it_means_nothing() -> None:
    keys = select(["XBTUSD"], LISTED).keys
    gone = select(["XBTUSD"], [DOGE], keys=keys)
    assert list(gone.unknown) == ["XBTUSD"]
    back = changed(BTC, pair="BITCOIN/USD", wsname="BITCOIN/USD", altname="BITCOINUSD")
    assert select(["XBTUSD"], [back], keys=gone.keys).pairs == {"BITCOIN/USD": back}


# -- against the real listings --------------------------------------------------------------------------------------


WHOLE = ["full_1218pairs_2025-09-11.json", "full_1114pairs_2025-07-23.json", "full_2021-04-17.json", "xchange_old.json"]


@pytest.fixture(params=WHOLE)
def whole(payloads: Path, request: pytest.FixtureRequest) -> list[Instrument]:
    return list(
        asset_pairs.parse_listing(
            rest_api.result(200, (payloads / "rest/AssetPairs" / request.param).read_bytes())
        ).entries
    )


def test_every_real_leg_selects_exactly_the_pairs_that_have_it(whole: list[Instrument]) -> None:
    assert set(select(["*"], whole).pairs) == {one.pair for one in whole}
    for old_leg in {one.wsname.partition("/")[2] for one in whole}:
        quoted = {one.pair for one in whole if one.wsname.partition("/")[2] == old_leg}
        for leg in (old_leg, old_leg.lower(), v2_symbol(old_leg)):
            assert set(select([f"*/{leg}"], whole).pairs) == quoted
    for old_leg in sorted({one.wsname.partition("/")[0] for one in whole})[::20]:
        of_base = {one.pair for one in whole if one.wsname.partition("/")[0].upper() == old_leg.upper()}
        assert set(select([f"{old_leg}/*"], whole).pairs) == of_base


def test_107_pairs_joined_and_3_left_in_seven_weeks_of_2025(payloads: Path) -> None:
    def read(name: str) -> list[Instrument]:
        return list(
            asset_pairs.parse_listing(rest_api.result(200, (payloads / "rest/AssetPairs" / name).read_bytes())).entries
        )

    july, september = read("full_1114pairs_2025-07-23.json"), read("full_1218pairs_2025-09-11.json")
    before = select(["*"], july)
    after = select(["*"], september, keys=before.keys)
    assert len(after.pairs.keys() - before.pairs.keys()) == 107
    assert before.pairs.keys() - after.pairs.keys() == {"MKR/USD", "MKR/EUR", "MKR/BTC"}


def test_no_real_pair_is_finer_than_the_schema(whole: list[Instrument]) -> None:
    assert select(["*"], whole).left_out == {}


@given(st.data())
def test_a_pattern_cut_out_of_a_symbol_matches_it_in_any_case(data: st.DataObject) -> None:
    symbol = "/".join(data.draw(st.text("ABxyB0.", min_size=1, max_size=6)) for _ in range(2))
    start = data.draw(st.integers(0, len(symbol)))
    stop = data.draw(st.integers(start, len(symbol)))
    pattern = f"{symbol[:start]}*{symbol[stop:]}"
    for spelt in (pattern, pattern.lower(), pattern.upper()):
        assert matcher(spelt)(symbol)
    assert not matcher(f"{pattern}Z")(symbol)
    assert not matcher(f"Z{pattern}")(symbol)
