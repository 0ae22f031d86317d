from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from recorder.collectors import listing as exchange_listing
from recorder.collectors.pair_list import LISTING_S, RETRY_S, SOON_S, PairList
from recorder.core.model import TOKENIZED, Instrument
from recorder.core.pair_registry import LISTINGS, OddEntry
from recorder.core.trade_ids import Run, Span
from recorder.errors import ConfigError, ExchangeError, Malformed, RateLimited, Refused, Unavailable
from recorder.kraken import asset_pairs, records, rest_api
from tests.builders import events, instrument, listed, listing_body
from tests.clocks import running, settle
from tests.collectors.listings import BTC, DOGE, ETH, Bench

# -- the start ------------------------------------------------------------------------------------------------------


async def test_it_begins_with_what_the_names_mean() -> None:
    bench = Bench(["xbtusd", "*/EUR"], [BTC, DOGE, ETH])
    assert dict(bench.roster.instruments) == {"BTC/USD": BTC, "ETH/EUR": ETH}


async def test_every_mistaken_name_is_a_configuration_error_with_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        Bench(["BTC/USX", "DOGE/USD", "*/EURO"], [BTC, DOGE, ETH])
    first, second = str(caught.value).splitlines()
    assert first.startswith("pairs: ")
    assert "'BTC/USX'" in first
    assert "did you mean BTC/USD" in first
    assert second.startswith("pairs: the pattern '*/EURO' matches none of the 3 pairs")
    assert 'did you mean "*/EUR" (1)' in second


async def test_a_second_list_of_an_archive_notes_nothing_and_names_its_own_key() -> None:
    with pytest.raises(ConfigError, match=r"^quotes\.pairs: .*'BTC/USX'"):
        Bench(["BTC/USX"], [BTC, ETH], options={"key": "quotes.pairs", "keeps": False})
    bench = Bench(["*"], [BTC, ETH], [ETH], options={"keeps": False, "soon_s": 1.0})
    for _ in range(LISTINGS + 1):
        bench.clock.move(LISTING_S)
        await bench.roster.refresh()
    assert bench.pairs == {"ETH/EUR"}
    assert bench.journalled() == []


async def test_a_pair_finer_than_the_schema_is_refused_never_rounded() -> None:
    fine = replace(BTC, pair_decimals=13)
    with pytest.raises(ConfigError, match=r"pairs: BTC/USD .*13 price .* digits"):
        Bench(["BTC/USD"], [fine, DOGE])
    assert Bench(["*"], [fine, DOGE]).pairs == {"DOGE/USD"}


async def test_a_name_that_was_listed_once_is_waited_for_and_stops_no_start() -> None:
    gone = replace(BTC, status="delisted")
    bench = Bench(["BTC/USD", "DOGE/USD", "XBT/*"], [DOGE], [DOGE, BTC], known=[gone, DOGE])
    assert bench.pairs == {"DOGE/USD"}
    await bench.roster.refresh()
    assert bench.pairs == bench.sums.pairs == {"DOGE/USD", "BTC/USD"}


async def test_a_pair_renamed_while_the_recorder_was_down_is_found_by_its_stored_key() -> None:
    was, now = instrument("MATIC/USD", key="MATICUSD"), instrument("POL/USD", key="MATICUSD")
    for remembered in ([was], [replace(was, status="delisted"), now]):
        for name in ("MATIC/USD", "MATIC/*"):
            assert Bench([name], [now], known=remembered).pairs == {"POL/USD"}


async def test_the_archive_stands_in_as_the_first_listing_without_what_was_delisted() -> None:
    archived = [BTC, replace(DOGE, status="delisted")]
    bench = Bench(["*"], archived, known=archived, fresh=False)
    assert bench.pairs == {"BTC/USD"}


# -- following ------------------------------------------------------------------------------------------------------


async def test_pairs_join_leave_and_come_back_in_the_same_mapping() -> None:
    bench = Bench(["*/USD", "ETH/EUR"], [BTC, ETH], [BTC, DOGE, ETH], *[[DOGE]] * 4, [DOGE, ETH])
    mapping = bench.roster.instruments
    every = {"BTC/USD", "DOGE/USD", "ETH/EUR"}
    for pairs in (every, every, every, {"DOGE/USD"}, {"DOGE/USD"}, {"DOGE/USD", "ETH/EUR"}):
        await later(bench)
        assert bench.pairs == bench.sums.pairs == pairs
    assert bench.roster.instruments is mapping
    assert bench.sums.told == 3, "nobody is told when nothing came or went"
    assert sorted(note["pair"] for note in bench.noted("delisted")) == ["BTC/USD", "ETH/EUR"]


async def later(bench: Bench, times: int = 1) -> None:
    """Read the listing so many times, so far apart that each counts."""
    for _ in range(times):
        bench.clock.move(SOON_S)
        await bench.roster.refresh()


async def test_changed_decimals_and_names_are_taken_over_without_telling_anybody() -> None:
    finer = replace(BTC, pair_decimals=2, altname="BTCUSD")
    bench = Bench(["XBTUSD"], [BTC, DOGE], [finer, DOGE])
    await bench.roster.refresh()
    assert bench.roster.instruments["BTC/USD"] == finer
    assert bench.sums.told == 0


async def test_a_renamed_pair_is_recorded_under_its_new_symbol() -> None:
    was, now = instrument("MATIC/USD", key="MATICUSD"), instrument("POL/USD", key="MATICUSD")
    for name in ("MATIC/USD", "MATICUSD", "MATIC/*", "*"):
        bench = Bench([name], [was], [now])
        await bench.roster.refresh()
        assert bench.pairs == bench.sums.pairs == {"POL/USD"}


async def test_earlier_names_are_known_from_the_archive_and_from_listings() -> None:
    first, then, now = (instrument(pair, key="MATICUSD") for pair in ("MATIC/USD", "POLY/USD", "POL/USD"))
    bench = Bench(["*"], [then, BTC], [now, BTC], known=[replace(first, status="delisted"), then, BTC])
    assert bench.roster.earlier_names("POLY/USD") == ["MATIC/USD"]
    await bench.roster.refresh()
    assert bench.roster.earlier_names("POL/USD") == ["MATIC/USD", "POLY/USD"]
    assert bench.roster.earlier_names("BTC/USD") == bench.roster.earlier_names("POLY/USD") == []


async def test_a_named_pair_that_becomes_too_fine_leaves_and_comes_back() -> None:
    bench = Bench(["BTC/USD"], [BTC], *[[replace(BTC, pair_decimals=13)]] * 3, [BTC])
    await later(bench, 2)
    assert bench.pairs == bench.sums.pairs == {"BTC/USD"}
    await later(bench)
    assert bench.pairs == bench.sums.pairs == set()
    await bench.roster.refresh()
    assert bench.pairs == bench.sums.pairs == {"BTC/USD"}


async def test_a_listing_that_lacks_most_pairs_is_journalled_but_not_followed() -> None:
    many = [instrument(f"A{number}/USD") for number in range(20)]
    bench = Bench(["*"], many, *[many[:9]] * 3, many[:10])
    await later(bench, 3)
    assert len(bench.pairs) == 20
    await later(bench, 3)
    assert len(bench.pairs) == len(bench.sums.pairs) == 10
    entries = bench.journalled()
    lines = [entry for entry in entries if entry.source == "rest:/0/public/AssetPairs"]
    assert [len(asset_pairs.parse_listing(rest_api.result(200, entry.payload)).entries) for entry in lines] == [9, 10]
    (odd,) = [event for event in events(entries) if event.kind == "malformed"]
    assert "lacks 11 of 20 pairs" in json.loads(odd.detail)["reason"]


async def test_the_guard_counts_what_is_listed_not_what_is_recorded() -> None:
    many = [instrument(f"A{number}/USD") for number in range(20)]
    bench = Bench(["A1/USD", "A2/USD"], many, *[many[2:]] * 3, many[3:9], *[many[3:]] * 3)
    for times, pairs in ((3, {"A2/USD"}), (1, {"A2/USD"}), (3, set())):
        await later(bench, times)
        assert bench.pairs == pairs


async def test_a_listing_that_cannot_be_read_is_kept_and_noted_and_changes_nothing() -> None:
    odd = b'{"error":[],"result":{"XXBTZUSD":{"altname":5}}}'
    bench = Bench(["*"], [BTC], odd, [BTC, DOGE])
    await bench.roster.refresh()
    kept, note = bench.journalled()
    assert (kept.source, kept.payload) == ("rest-unreadable:/0/public/AssetPairs", odd)
    assert isinstance(records.read(kept), records.UnreadableRecord)
    assert json.loads(note.payload)["note"] == "malformed"
    assert bench.pairs == {"BTC/USD"}
    assert bench.value("recorder_rest_failures_total", kind="Malformed") == 1
    await bench.roster.refresh()
    assert bench.pairs == {"BTC/USD", "DOGE/USD"}


# -- other names ----------------------------------------------------------------------------------------------------


async def test_new_names_take_effect_at_once_on_the_newest_listing() -> None:
    bench = Bench(["BTC/USD", "ETH/EUR"], [BTC, DOGE, ETH], [BTC, ETH])
    mapping = bench.roster.instruments
    kept = mapping["BTC/USD"]
    assert await bench.roster.rename(["xbtusd", "*/USD"]) == (["DOGE/USD"], ["ETH/EUR"])
    assert bench.pairs == bench.sums.pairs == {"BTC/USD", "DOGE/USD"}
    assert bench.roster.instruments is mapping
    assert mapping["BTC/USD"] is kept
    assert bench.http.asked_s == []
    await later(bench, 3)
    assert bench.pairs == bench.sums.pairs == {"BTC/USD"}
    assert await bench.roster.rename(["BTC/USD"]) == ([], [])
    assert bench.sums.told == 2, "nobody is told when nothing came or went"


@pytest.mark.parametrize("problem", [Unavailable("HTTP 502"), [BTC, DOGE]])
async def test_an_unknown_name_is_a_mistake_only_in_a_newer_listing(
    problem: list[Instrument] | ExchangeError,
) -> None:
    bench = Bench(["BTC/USD"], [BTC, DOGE], problem, [BTC, DOGE, ETH])
    bench.clock.move(SOON_S)
    with pytest.raises(ConfigError, match="pairs: Kraken lists no pair 'ETH/EUR'"):
        await bench.roster.rename(["DOGE/USD", "ETH/EUR"])
    assert bench.pairs == {"BTC/USD"}
    assert bench.sums.told == 0
    bench.clock.move(SOON_S)
    assert await bench.roster.rename(["DOGE/USD", "ETH/EUR"]) == (["DOGE/USD", "ETH/EUR"], ["BTC/USD"])
    assert len(bench.http.asked_s) == 2


async def test_a_new_name_listed_once_is_waited_for_and_the_listing_read_soon() -> None:
    bench = Bench(["BTC/USD"], [BTC], [BTC, DOGE], known=[replace(DOGE, status="delisted")])
    async with running(bench.roster):
        assert await bench.roster.rename(["BTC/USD", "DOGE/USD"]) == ([], [])
        await bench.pass_time(SOON_S, step_s=10)
        assert bench.pairs == bench.sums.pairs == {"BTC/USD", "DOGE/USD"}


async def test_a_name_that_became_unusable_while_running_blocks_no_other_name() -> None:
    bench = Bench(["BTC/USD", "DOGE/USD"], [BTC, DOGE, ETH], [replace(BTC, pair_decimals=13), ETH])
    await bench.roster.refresh()
    assert await bench.roster.rename(["BTC/USD", "DOGE/USD", "ETH/EUR"]) == (["ETH/EUR"], [])


# -- when -----------------------------------------------------------------------------------------------------------


async def test_the_listing_is_read_once_a_day() -> None:
    bench = Bench(["*"], [BTC])
    async with running(bench.roster):
        await bench.pass_time(3 * LISTING_S, step_s=600)
        assert bench.http.asked_s == [LISTING_S, 2 * LISTING_S, 3 * LISTING_S]


async def test_whoever_asks_gets_a_reading_soon_but_never_oftener_than_that() -> None:
    bench = Bench(["*"], [BTC])
    async with running(bench.roster):
        await bench.pass_time(SOON_S - 10)
        bench.roster.refresh_soon()
        await bench.pass_time(5)
        assert bench.http.asked_s == []
        await bench.pass_time(5)
        assert bench.http.asked_s == [SOON_S]
        for _ in range(30):
            await bench.pass_time(100, step_s=10)
            bench.roster.refresh_soon()
        assert bench.http.asked_s == [SOON_S * n for n in range(1, 12)]
        await bench.pass_time(5 * SOON_S, step_s=10)
        bench.roster.refresh_soon()
        await settle()
        assert len(bench.http.asked_s) == 13, "after a pause it is read at once, and the last one asked for was read"


async def test_the_archived_listing_is_replaced_soon_after_the_exchange_is_back() -> None:
    bench = Bench(["*"], [BTC], [BTC, DOGE], fresh=False)
    async with running(bench.roster):
        await bench.pass_time(RETRY_S)
        assert bench.pairs == {"BTC/USD", "DOGE/USD"}
        await bench.pass_time(2 * SOON_S, step_s=10)
        assert len(bench.http.asked_s) == 1


async def test_a_reading_that_fails_is_repeated_with_back_off_and_changes_nothing() -> None:
    problems: list[ExchangeError | bytes] = [
        Unavailable("HTTP 502"),
        RateLimited("too many"),
        b'{"error":[],"result":[]}',
    ]
    bench = Bench(["*"], [BTC], *problems, *problems, [BTC, DOGE], fresh=False)
    async with running(bench.roster):
        await bench.pass_time(5 * SOON_S, step_s=10)
        assert bench.pairs == {"BTC/USD", "DOGE/USD"}
    waits = [after - before for before, after in zip([0.0, *bench.http.asked_s], bench.http.asked_s, strict=False)]
    assert waits == [30, 60, 120, 240, 300, 300, 300]


async def test_a_listing_that_is_not_believed_is_looked_at_again_soon() -> None:
    many = [instrument(f"A{number}/USD") for number in range(20)]
    bench = Bench(["*"], many, many[:1], [*many, DOGE])
    async with running(bench.roster):
        await bench.pass_time(LISTING_S + RETRY_S, step_s=30)
        assert len(bench.pairs) == 21


async def test_a_pair_missing_from_one_listing_stays_and_the_listing_is_read_soon() -> None:
    bench = Bench(["*"], [BTC, DOGE], [DOGE], [DOGE], [DOGE, BTC])
    async with running(bench.roster):
        await bench.pass_time(LISTING_S + 3 * SOON_S, step_s=30)
        assert bench.http.asked_s == [LISTING_S + SOON_S * n for n in range(3)]
    assert bench.pairs == bench.sums.pairs == {"BTC/USD", "DOGE/USD"}
    assert bench.noted("delisted") == []


async def test_a_recorded_pair_that_trades_stays_whatever_listings_lack() -> None:
    bench = Bench(["*"], [BTC, DOGE], [DOGE])
    for number in range(1, 10):
        bench.ledger.observe(Run("BTC/USD", Span(number, number), 1, 1))
        await later(bench)
    assert bench.pairs == {"BTC/USD", "DOGE/USD"}
    await later(bench, 2)
    assert bench.pairs == {"DOGE/USD"}


async def test_a_name_that_is_waited_for_is_looked_up_every_few_minutes() -> None:
    bench = Bench(["BTC/USD", "DOGE/USD"], [BTC], *[[BTC]] * 3, [BTC, DOGE], known=[replace(DOGE, status="delisted")])
    async with running(bench.roster):
        await bench.pass_time(5 * SOON_S, step_s=30)
        assert bench.http.asked_s == [SOON_S * n for n in range(1, 5)], "until it is found"
    assert bench.pairs == {"BTC/USD", "DOGE/USD"}
    listings = [entry.source for entry in bench.journalled() if entry.source.startswith("rest:")]
    assert listings.count("rest:/0/public/AssetPairs") == 2, "what is byte for byte as before is not journalled again"


async def test_a_name_whose_entry_cannot_be_read_is_waited_for_and_stops_no_start() -> None:
    odd = {"XXBTZUSD": OddEntry("odd", b"{}", names=frozenset({"XBTUSD", "XBT/USD", "BTC/USD"}))}
    bench = Bench(["DOGE/USD", "xbtusd"], [DOGE], [DOGE, BTC], odd=odd)
    assert bench.pairs == {"DOGE/USD"}
    await bench.roster.refresh()
    assert bench.pairs == {"DOGE/USD", "BTC/USD"}


# -- tokenized assets -----------------------------------------------------------------------------------------------


STOCK = instrument("AAPLx/USD", asset_class=TOKENIZED)


async def test_tokenized_assets_are_recorded_like_others_and_known_by_their_class() -> None:
    bench = Bench(["*/USD"], [BTC], [BTC])
    bench.http.others = listing_body([STOCK])
    await bench.roster.refresh()
    assert bench.pairs == {"BTC/USD", "AAPLx/USD"}
    assert bench.roster.instruments["AAPLx/USD"] == STOCK
    sources = [entry.source for entry in bench.journalled()]
    assert sources == ["rest:/0/public/AssetPairs", "rest:/0/public/AssetPairs?aclass_base=tokenized_asset"]


@pytest.mark.parametrize("problem", [Unavailable("HTTP 502"), RateLimited("later"), b'{"error":[],"result":[]}'])
async def test_tokenized_assets_stay_while_their_listing_cannot_be_had(problem: ExchangeError | bytes) -> None:
    bench = Bench(["*"], [BTC], [BTC, DOGE])
    bench.http.others = listing_body([STOCK])
    await bench.roster.refresh()
    bench.http.others = problem if isinstance(problem, ExchangeError) else Malformed("no listing")
    await later(bench, 5)
    assert bench.pairs == {"BTC/USD", "DOGE/USD", "AAPLx/USD"}


async def test_a_start_without_the_tokenized_listing_refuses_no_name() -> None:
    bench = Bench(["*"], [BTC], [BTC])
    roster = PairList(["AAPLx/USD"], bench.context)
    with pytest.raises(Unavailable, match="'AAPLx/USD'"):
        roster.begin([listed(BTC)])
    with pytest.raises(ConfigError, match="'AAPLx/USD'"):
        roster.begin([listed(BTC), listed(asked=TOKENIZED)])
    roster = PairList(["*"], bench.context)
    roster.begin([listed(BTC)])
    bench.http.others = listing_body([STOCK])
    async with running(roster):
        await bench.pass_time(RETRY_S)
    assert set(roster.instruments) == {"BTC/USD", "AAPLx/USD"}


async def test_a_start_waits_for_no_more_of_the_listing_than_the_names_need() -> None:
    fakes = Bench(["*"], [BTC])
    fakes.http.others = listing_body([STOCK])
    for names, needed in ((["xbtusd", "*/USD"], 1), (["BTC/USD", "AAPLx/USD"], 2), (["AAPLx/*"], 2)):
        reading = await exchange_listing.read(fakes.exchange, enough=PairList(names, fakes.context).is_satisfied)
        assert len(reading.listings) == needed


async def test_an_exchange_that_refuses_to_list_tokenized_assets_lists_none() -> None:
    bench = Bench(["*"], [BTC], [BTC, DOGE])
    bench.http.others = Refused("EGeneral:Invalid arguments")
    await bench.roster.refresh()
    assert bench.pairs == {"BTC/USD", "DOGE/USD"}


# -- whatever comes -------------------------------------------------------------------------------------------------

KEYS = [f"K{number}" for number in range(14)]
SYMBOLS = [f"{base}/{quote}" for base in ("A", "B", "C", "D") for quote in ("USD", "EUR", "JPY", "CHF")]
NAMES = ["*", "*/USD", "A/*", "*/C*", *SYMBOLS]
WORDS = ["online", "online", "online", "cancel_only", "work_in_progress"]


@st.composite
def listings(draw: st.DrawFn) -> list[Instrument]:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=draw(st.sampled_from([0, 8])), max_size=14))
    symbols = draw(st.permutations(SYMBOLS))
    return [
        replace(
            instrument(symbol, key=key, altname=f"{key}ALT"),
            status=draw(st.sampled_from(WORDS)),
            pair_decimals=draw(st.sampled_from([1, 2, 12, 13])),
        )
        for key, symbol in zip(keys, symbols, strict=False)
    ]


def means(name: str, symbol: str) -> bool:
    base, quote = symbol.split("/")
    patterns = {"*": True, "*/USD": quote == "USD", "A/*": base == "A", "*/C*": quote.startswith("C")}
    return patterns.get(name, name == symbol)


def lacks_most(before: list[Instrument], after: list[Instrument]) -> bool:
    old, new = {one.pair for one in before}, {one.pair for one in after}
    renamed = {one.key for one in after if one.pair not in old}
    lacking = [one for one in before if one.pair not in new and one.key not in renamed]
    return len(lacking) >= 10 and 2 * len(lacking) > len(before)


def follows(bench: Bench, listing: list[Instrument]) -> bool:
    """Give the roster a listing as often as it takes to be believed of what it lacks."""
    for _ in range(LISTINGS):
        bench.clock.move(SOON_S)
        bench.roster._read_s = bench.clock.monotonic()  # as if it had read this one
        if bench.roster.trust([listed(*listing), listed(asked=TOKENIZED)]) is None:
            return False
    return True


NAME_LISTS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)


@settings(max_examples=200)
@given(NAME_LISTS, st.lists(listings() | NAME_LISTS, max_size=8))
def test_the_pair_list_is_what_the_names_mean_in_the_last_trusted_listing(
    names: list[str], script: list[list[Instrument] | list[str]]
) -> None:
    async def play() -> None:
        first = [instrument(symbol, key=key) for key, symbol in zip(KEYS, SYMBOLS, strict=False)]
        everything = [
            instrument(symbol, status="delisted") for symbol in SYMBOLS
        ]  # so that every name is known to the archive
        bench = Bench(names, first, known=everything)
        believed: list[Instrument] = []
        newest: dict[str, str] = {}  # by symbol, the key of the market that bore it last
        keys: dict[str, set[str]] = {name: set() for name in names}  # of all markets that a name has meant

        for step in [first, *script]:
            if step and isinstance(step[0], str):
                again = [str(name) for name in step]
                fine = {one.key for one in believed if one.pair_decimals > 12}
                after = {
                    name: keys.get(name) or {key for symbol, key in newest.items() if means(name, symbol)}
                    for name in again
                }
                if any("*" not in name and name not in keys and after[name] & fine for name in again):
                    with pytest.raises(ConfigError, match="13 price"):
                        await bench.roster.rename(again)
                else:
                    await bench.roster.rename(again)
                    keys = after
            else:
                listing = cast("list[Instrument]", step)
                followed = step is first or follows(bench, listing)
                assert followed == (not lacks_most(believed, listing))
                if followed:
                    believed = listing
                    newest |= {one.pair: one.key for one in listing}
                    for name, meant in keys.items():
                        meant.update(one.key for one in listing if means(name, one.pair))
            expected = {
                one.pair: one
                for one in believed
                if one.pair_decimals <= 12
                and any(
                    one.key in meant and (one.status != "work_in_progress" or "*" not in name)
                    for name, meant in keys.items()
                )
            }
            assert dict(bench.roster.instruments) == expected
            assert bench.sums.pairs == set(expected)

    asyncio.run(play())
