from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import CURRENCY, TOKENIZED, Instrument
from recorder.core.pair_registry import APART_S, DELISTED, LISTINGS, Listed, OddEntry, PairRegistry, Rival, settled
from tests.builders import BTC, ETH, instrument, listed

STOCK = msgspec.structs.replace(instrument("AAPLx/USD"), asset_class=TOKENIZED)


def like(one: Instrument, **fields: object) -> Instrument:
    return msgspec.structs.replace(one, **fields)


def both(
    *entries: Instrument, stocks: Sequence[Instrument] = (), odd: Mapping[str, OddEntry] | None = None
) -> list[Listed]:
    return [Listed(CURRENCY, entries, odd or {}), listed(*stocks, asked=TOKENIZED)]


def directory(*entries: Instrument, stocks: Sequence[Instrument] = ()) -> PairRegistry:
    made = PairRegistry()
    made.follow_listing(both(*entries, stocks=stocks), 0.0)
    return made


def pairs(of: PairRegistry) -> set[str]:
    return {one.pair for one in of.listing}


# -- two entries with one symbol ------------------------------------------------------------------------------------

BITNOMIAL = like(BTC, key="XBTUSD.B", altname="XBTUSD.B")
STILL = like(BTC, status="cancel_only")


@pytest.mark.parametrize(
    ("entries", "known", "taken"),
    [
        pytest.param([BTC, BITNOMIAL], [], "XXBTZUSD", id="the first, which is that of the exchange's own venue"),
        pytest.param([BTC, BITNOMIAL], [BITNOMIAL], "XBTUSD.B", id="before it the one whose key is known"),
        pytest.param([like(BTC, status="delisted"), BITNOMIAL], [BTC], "XBTUSD.B", id="before that one that is traded"),
        pytest.param([STILL, BITNOMIAL], [BTC], "XBTUSD.B", id="also where one stands still"),
        pytest.param([STILL, like(BITNOMIAL, status="post_only")], [BTC], "XXBTZUSD", id="both stand still"),
        pytest.param([like(BTC, status="limit_only"), BITNOMIAL], [], "XXBTZUSD", id="limited is traded"),
        pytest.param([like(BTC, status="half_asleep"), BITNOMIAL], [], "XXBTZUSD", id="and so is what nobody knows"),
    ],
)
def test_of_two_entries_with_one_symbol_one_counts_by_rule(
    entries: list[Instrument], known: list[Instrument], taken: str
) -> None:
    found, rivals = settled(listed(*entries, ETH), {one.pair: one for one in known})
    assert {pair: one.key for pair, one in found.items()} == {"BTC/USD": taken, "ETH/USD": "XETHZUSD"}
    (left,) = {"XXBTZUSD", "XBTUSD.B"} - {taken}
    assert rivals == [Rival("BTC/USD", taken, left)]
    assert str(rivals[0]) == f"two entries list BTC/USD: that of {taken} counts, that of {left} does not"


# -- odd entries ----------------------------------------------------------------------------------------------------


def test_what_was_known_of_a_pair_with_an_odd_entry_stays_however_often_it_comes() -> None:
    listing = directory(BTC, ETH)
    odd = {"XXBTZUSD": OddEntry("odd", b"{}", bare=like(BTC, tick_size=None, pair_decimals=7))}
    for number in range(1, 2 * LISTINGS):
        assert listing.follow_listing(both(ETH, odd=odd), number * APART_S) == []
    assert list(listing.listing) == [BTC, ETH]
    assert not listing.lacking


def test_an_unknown_pair_begins_with_its_readable_fields_and_is_corrected_later() -> None:
    bare = like(BTC, tick_size=None)
    listing = PairRegistry()
    listing.follow_listing(both(odd={"XXBTZUSD": OddEntry("odd", b"{}", bare=bare)}), 0.0)
    assert list(listing.listing) == [bare]
    listing.follow_listing(both(BTC), 1.0)
    assert list(listing.listing) == [BTC]


def test_the_names_in_an_odd_entry_lead_to_its_key_while_it_is_odd() -> None:
    listing = PairRegistry()
    listing.follow_listing(both(odd={"XXBTZUSD": OddEntry("odd", b"{}", names=frozenset({"XBTUSD", "XBT/USD"}))}), 0.0)
    assert listing.odd_key(" xbtusd ") == "XXBTZUSD"
    assert listing.odd_key("BTC/EUR") is None
    listing.follow_listing(both(BTC), 1.0)
    assert listing.odd_key("XBTUSD") is None


# -- absent is not gone ---------------------------------------------------------------------------------------------


def test_a_pair_is_gone_when_three_listings_lack_it_that_lie_five_minutes_apart() -> None:
    assert (LISTINGS, APART_S) == (3, 300)
    listing = directory(BTC, ETH)
    for now_s, gone in ((10.0, []), (300.0, []), (310.0, []), (600.0, []), (610.0, ["BTC/USD"]), (1000.0, [])):
        assert listing.follow_listing(both(ETH), now_s) == gone
        assert set(listing.lacking) == ({"BTC/USD"} if now_s < 610 else set())
    assert pairs(listing) == {"ETH/USD"}


def test_a_pair_that_is_listed_in_between_is_counted_anew() -> None:
    listing = directory(BTC, ETH)
    script = [False, False, True, False, False, True, False, False, False]
    gone = [listing.follow_listing(both(ETH, *[BTC] * there), 300.0 * number) for number, there in enumerate(script, 1)]
    assert gone == [[]] * 8 + [["BTC/USD"]]


def test_a_pair_that_trades_is_never_gone() -> None:
    listing, last_ids = directory(BTC, ETH), {"BTC/USD": 5}
    for number in range(1, 20):
        assert listing.follow_listing(both(ETH), 300.0 * number, last_ids.__getitem__) == []
        last_ids["BTC/USD"] += number % 2
    still = [listing.follow_listing(both(ETH), 300.0 * number, last_ids.__getitem__) for number in (20, 21, 22)]
    assert still == [[], [], ["BTC/USD"]]


@pytest.mark.parametrize("as_listed", [{"status": DELISTED}, {"status": "work_in_progress"}, {"pair_decimals": 13}])
def test_a_pair_that_is_listed_as_one_that_cannot_be_recorded_stays_as_it_was_as_long(
    as_listed: dict[str, object],
) -> None:
    listing = directory(BTC, ETH)
    for now_s in (300.0, 600.0):
        assert listing.follow_listing(both(like(BTC, **as_listed), ETH), now_s) == []
        assert set(listing.listing) == {BTC, ETH}
    assert listing.follow_listing(both(like(BTC, **as_listed), ETH), 900.0) == [], "it is listed"
    assert set(listing.listing) == {like(BTC, **as_listed), ETH}


def test_a_key_listed_under_another_symbol_is_a_rename_at_once() -> None:
    listing = directory(BTC, ETH)
    assert listing.follow_listing(both(like(BTC, pair="NEW/USD"), ETH), 1.0) == []
    assert pairs(listing) == {"NEW/USD", "ETH/USD"}


def test_what_an_earlier_run_knew_as_listed_counts_until_listings_have_lacked_it() -> None:
    listing = PairRegistry()
    listing.remember([BTC, like(ETH, status=DELISTED)])
    assert [listing.follow_listing(both(), now_s) for now_s in (0.0, 300.0, 600.0)] == [[], [], ["BTC/USD"]]


def test_a_class_that_was_not_told_of_lacks_nothing() -> None:
    listing = directory(BTC, stocks=[STOCK])
    for number in range(1, 5):
        listing.follow_listing([listed(BTC)], 300.0 * number)
    assert pairs(listing) == {"BTC/USD", "AAPLx/USD"}
    gone = [listing.follow_listing(both(BTC), 300.0 * number) for number in (5, 6, 7)]
    assert gone == [[], [], ["AAPLx/USD"]]


def test_of_a_pair_remembered_nobody_knows_the_class_so_that_both_must_have_been_told() -> None:
    listing = PairRegistry()
    listing.remember([STOCK])
    for number in range(5):
        listing.follow_listing([listed(BTC)], 300.0 * number)
    assert pairs(listing) == {"BTC/USD", "AAPLx/USD"}


def test_an_exchange_that_lists_all_whatever_is_asked_for_lists_each_once() -> None:
    listing = PairRegistry()
    listing.follow_listing([listed(BTC, STOCK), listed(BTC, STOCK, asked=TOKENIZED)], 0.0)
    assert list(listing.listing) == [BTC, STOCK]


@pytest.mark.parametrize(("left", "believed"), [(10, True), (9, False)])
def test_a_listing_that_lacks_more_than_half_is_not_believed(left: int, *, believed: bool) -> None:
    many = [instrument(f"A{number}/USD") for number in range(20)]
    told = directory(*many).distrust(both(*many[:left]))
    assert told == (None if believed else "the listing lacks 11 of 20 pairs that were listed: ignored")


def test_pairs_that_were_renamed_or_have_odd_entries_are_not_lacking() -> None:
    many = [instrument(f"A{number}/USD") for number in range(20)]
    listing = directory(*many)
    renamed = [like(one, pair=f"X{one.pair}") for one in many]
    assert listing.distrust(both(*renamed)) is None
    assert listing.distrust(both(odd={one.key: OddEntry("odd", b"") for one in many})) is None


@given(st.lists(st.tuples(st.sets(st.sampled_from("ABC")), st.floats(0, 700), st.booleans()), max_size=20))
def test_whatever_comes_a_pair_goes_only_after_ten_quiet_minutes_without_it(
    script: list[tuple[set[str], float, bool]],
) -> None:
    every = {name: instrument(f"{name}/USD") for name in "ABC"}
    listing, now_s, ids = directory(*every.values()), 0.0, [1]
    since_s = dict.fromkeys(every, 0.0)
    for there, wait_s, trades in script:
        now_s += wait_s
        ids[0] += trades
        held = {one.pair[0] for one in listing.listing}
        for name in every:
            if name in there or trades:
                since_s[name] = now_s
        gone = listing.follow_listing(both(*(every[name] for name in sorted(there))), now_s, lambda _: ids[0])
        assert {one.pair[0] for one in listing.listing} == (held | there) - {pair[0] for pair in gone}
        for pair in gone:
            assert now_s - since_s[pair[0]] >= 2 * APART_S
