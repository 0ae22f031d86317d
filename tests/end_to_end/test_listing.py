from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from recorder import app
from recorder.archive import quarantine
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.config import Config, OhlcConfig, TradesConfig
from recorder.errors import ConfigError
from recorder.ops import archive_status
from recorder.runtime.stop import Stop
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.server import Sandbox
from tests.end_to_end import clock_jumps
from tests.end_to_end.harness import (
    Process,
    archived,
    caught_up,
    config_for,
    environ_for,
    first_held,
    recording,
    rows,
    streamed,
    until,
)

DAILY = app.Intervals(listing_soon_s=0.1)
OFTEN = app.Intervals(listing_s=0.2, listing_soon_s=0.1)

NEW = pair_of("NEW/USD", pair_decimals=4, lot_decimals=8)
OTHER = pair_of("NEW/EUR", pair_decimals=4, lot_decimals=8)


def exchange(tmp_path: Path) -> Sandbox:
    clock = SystemClock()
    return Sandbox(Market(start_ns=clock.wall_ns(), rate=50), clock=clock, truth=tmp_path / "truth")


def readings(sandbox: Sandbox) -> list[LoggedRequest]:
    """The requests for the usual listing; that for tokenized assets follows each."""
    return [request for request in sandbox.requests.to("/0/public/AssetPairs") if not request.query]


def held(data: Path, pair: str) -> int:
    """The last id recorded of a pair, 0 while there is none."""
    found = archive_status.read(data) if (data / "trades").is_dir() else []
    return next((one.last_id for one in found if one.pair == pair and one.last_id is not None), 0)


def whole(data: Path, sandbox: Sandbox, *pairs: str) -> Callable[[], bool]:
    """Tell whether all that was made of these pairs until now is recorded."""
    last_ids = {pair: sandbox.last_ids()[pair] for pair in pairs}
    return lambda: (
        all(held(data, pair) >= last for pair, last in last_ids.items())
        and caught_up(data, {pair: held(data, pair) for pair in pairs})
    )


def nothing_lost_between_the_names(data: Path, was: str, now: str) -> bool:
    rows = archived(data)
    before, after = ({row.trade_id for row in rows if row.pair == pair} for pair in (was, now))
    return bool(before) and bool(after) and before | after == set(range(min(before), max(after) + 1))


async def test_a_pattern_follows_a_pair_listed_delisted_relisted_and_renamed(tmp_path: Path) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    async with sandbox.serve(), recording(config_for(sandbox, data, "*/USD"), OFTEN):
        await until(lambda: held(data, "BTC/USD") > 0, what="the pattern is recorded")
        sandbox.enlist(NEW, trades_per_s=2)
        sandbox.enlist(OTHER, trades_per_s=2)
        await until(lambda: held(data, "NEW/USD") > 0, what="the new pair is recorded")
        sandbox.burst("NEW/USD", 300)
        await until(whole(data, sandbox, "NEW/USD"), what="all of the new pair is recorded")

        sandbox.delist("NEW/USD")
        read = len(readings(sandbox))
        await until(lambda: len(readings(sandbox)) > read + 3, what="that is read three times")
        await until(lambda: "NEW/USD" not in streamed(sandbox), what="the pair is left")
        sandbox.enlist(NEW, trades_per_s=2)
        sandbox.burst("NEW/USD", 300)  # more than a snapshot holds
        await until(whole(data, sandbox, "NEW/USD"), what="the pair is recorded again, its hole repaired")

        sandbox.relist("NEW/USD", wsname="BRAND/USD", altname="BRANDUSD")
        await until(lambda: held(data, "BRAND/USD") > 0, what="the pair is recorded under its new name")
        sandbox.burst("BRAND/USD", 300)
        sandbox.freeze()
        usd = [pair for pair in sandbox.last_ids() if pair.endswith("/USD")]
        await until(whole(data, sandbox, *usd), what="all is recorded")
    assert nothing_lost_between_the_names(data, "NEW/USD", "BRAND/USD")
    rows = archived(data)
    assert {row.pair for row in rows} == {*usd, "NEW/USD"}
    verdict = compare(rows, read_truth(tmp_path / "truth"), last_ids={"NEW/USD": held(data, "NEW/USD")})
    assert verdict.perfect, str(verdict)


async def test_a_pair_that_is_listed_while_everything_is_polled_is_polled_too(tmp_path: Path) -> None:
    clock = clock_jumps.LeapingClock()
    data, sandbox = tmp_path / "data", clock_jumps.exchange(tmp_path, clock)
    async with sandbox.serve():
        config = config_for(sandbox, data, "*/USD").model_copy(update={"trades": TradesConfig(stream=False)})
        async with clock_jumps.recorded(config, clock, OFTEN):
            await clock.live_until(lambda: held(data, "BTC/USD") > 0, what="the pattern is recorded")
            sandbox.enlist(NEW, trades_per_s=2)
            await clock.live_until(lambda: held(data, "NEW/USD") > 0, what="the new pair is recorded")
        assert sandbox.requests.to("/v2") == []


async def test_a_pair_renamed_during_an_outage_is_found_before_the_daily_listing(
    tmp_path: Path,
) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    async with sandbox.serve():
        sandbox.enlist(NEW, trades_per_s=2)
        async with recording(config_for(sandbox, data, "newusd", "BTC/USD"), DAILY):
            await until(lambda: held(data, "NEW/USD") > 0, what="the first trades are recorded")
            sandbox.burst("NEW/USD", 100)
            await until(whole(data, sandbox, "NEW/USD", "BTC/USD"), what="both are recorded")
            sandbox.relist("NEW/USD", wsname="BRAND/USD", altname="BRANDUSD")
            sandbox.clients.hang_up()
            await until(lambda: held(data, "BRAND/USD") > 0, what="the refusal of the old name led to the new one")
            sandbox.freeze()
            await until(whole(data, sandbox, "BRAND/USD", "BTC/USD"), what="all is recorded")
            assert streamed(sandbox) == {"BRAND/USD", "BTC/USD"}
    # Once more soon after the start, with tokenized assets, if it went on for that long.
    assert len(readings(sandbox)) in {2, 3}, "at the start, and for the refusal"
    assert nothing_lost_between_the_names(data, "NEW/USD", "BRAND/USD")


async def test_a_start_from_the_archived_listing_catches_up_once_the_exchange_is_back(tmp_path: Path) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    async with sandbox.serve():
        config = config_for(sandbox, data, "*/USD")
        async with recording(config, DAILY):
            await until(lambda: held(data, "BTC/USD") > 0, what="a listing is recorded")
        sandbox.enlist(NEW, trades_per_s=2)
        sandbox.faults.rest.throw("http_502", n=3, path="/0/public/AssetPairs")
        async with recording(config, DAILY):
            await until(lambda: held(data, "NEW/USD") > 0, what="the new pair is found")
    # Soon after a start the listing is read once more, with tokenized assets: whether that was before its end is open.
    statuses = [request.status for request in readings(sandbox)]
    assert [status for status, _ in groupby(statuses)] == [200, 502, 200]
    assert statuses.count(502) == 3


async def test_a_delisted_or_renamed_pair_stops_no_start_but_a_wrong_name_does(
    tmp_path: Path,
) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    async with sandbox.serve():
        sandbox.enlist(NEW, trades_per_s=2)
        config = config_for(sandbox, data, "NEW/USD", "DOGE/USD", "BTC/USD")
        async with recording(config, DAILY):
            sandbox.burst("NEW/USD", 10)
            await until(whole(data, sandbox, "NEW/USD", "BTC/USD"), what="all are recorded")
        sandbox.relist("NEW/USD", wsname="BRAND/USD", altname="BRANDUSD")
        sandbox.delist("DOGE/USD")
        for _ in range(2):  # the second time the archive knows of it, too
            async with recording(config, DAILY):
                await until(lambda: streamed(sandbox) == {"BRAND/USD", "BTC/USD"}, what="what is listed is recorded")
                await until(whole(data, sandbox, "BRAND/USD", "BTC/USD"), what="all is recorded")
        with pytest.raises(ConfigError, match=r"pairs: Kraken lists no pair 'DOGE/UDS'"):
            await app.record(wrong(config, "DOGE/UDS"), Stop())
        with pytest.raises(ConfigError, match=r"pairs: the pattern '\*/UDS' matches none of the 7 pairs"):
            await app.record(wrong(config, "*/UDS"), Stop())


def wrong(config: Config, name: str) -> Config:
    return config.model_copy(update={"pairs": (*config.pairs, name)})


async def test_trades_between_two_names_of_an_unrecorded_pair_are_fetched(tmp_path: Path) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    async with sandbox.serve():
        sandbox.enlist(NEW, trades_per_s=2)
        async with recording(config_for(sandbox, data, "newusd"), DAILY):
            sandbox.burst("NEW/USD", 100)
            await until(whole(data, sandbox, "NEW/USD"), what="the pair is recorded")
            last_id = held(data, "NEW/USD")
        sandbox.burst("NEW/USD", 200)
        sandbox.relist("NEW/USD", wsname="BRAND/USD", altname="BRANDUSD")
        sandbox.burst("BRAND/USD", 400)
        async with recording(config_for(sandbox, data, "newusd"), DAILY):
            await until(lambda: held(data, "BRAND/USD") > 0, what="it is recorded under its new name")
            await until(lambda: first_held(data, "BRAND/USD") <= last_id, what="what lies between is fetched")
            await until(whole(data, sandbox, "BRAND/USD"), what="and all since")
    assert nothing_lost_between_the_names(data, "NEW/USD", "BRAND/USD")
    assert min(row.trade_id for row in archived(data) if row.pair == "BRAND/USD") > 1, "no more than that is wanted"


async def test_a_pair_missing_from_some_listings_stays_subscribed_over_a_restart(tmp_path: Path) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    async with sandbox.serve():
        config = config_for(sandbox, data, "BTC/USD", "*/EUR")
        async with recording(config, OFTEN):
            await until(lambda: held(data, "BTC/USD") > 0, what="it is recorded")
            for _ in range(2):
                sandbox.faults.quirks.lack("BTC/USD", 2)
                read = len(readings(sandbox))
                await until(lambda read=read: len(readings(sandbox)) >= read + 4, what="it is listed again")  # type: ignore[misc]
                assert streamed(sandbox) == {"BTC/USD", "ETH/EUR"}
        sandbox.faults.quirks.lack("BTC/USD", 1)
        async with recording(config, DAILY):
            await until(lambda: streamed(sandbox) == {"BTC/USD", "ETH/EUR"}, what="it is recorded though it is absent")
            await until(whole(data, sandbox, "BTC/USD", "ETH/EUR"), what="nothing is lost")
    assert len(sandbox.requests.to("/v2")) == 2
    assert rows(data, "SELECT kind FROM events WHERE kind = 'delisted'") == []
    assert {status for (status,) in rows(data, "SELECT status FROM instruments")} == {"online"}


async def test_odd_entries_and_rivals_cost_no_pair_and_are_told_once_and_kept(tmp_path: Path) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    quirks = sandbox.faults.quirks
    quirks.spoil("ETH/EUR", "tick_size", '"none"')  # before anything is known of it
    quirks.double("DOGE/USD", "XDGUSD.B", execution_venue="bitnomial-exchange")
    async with sandbox.serve():
        config = config_for(sandbox, data, "*")
        for _ in range(2):
            async with recording(config, OFTEN):
                await until(lambda: len(streamed(sandbox)) == 6, what="all are recorded")
                quirks.spoil("BTC/USD", "status", "null")
                quirks.spoil("BTC/USD", "pair_decimals", "2147483648")
                read = len(readings(sandbox))
                await until(lambda read=read: len(readings(sandbox)) >= read + 3, what="that is read")  # type: ignore[misc]
                assert len(streamed(sandbox)) == 6
                await until(whole(data, sandbox, "BTC/USD", "DOGE/USD", "ETH/EUR"), what="all is recorded")
    told = rows(data, "SELECT pair, detail->>'reason' FROM events WHERE kind = 'malformed' ORDER BY pair")
    assert [pair for pair, _ in told] == ["BTC/USD", "DOGE/USD", "ETH/EUR"], told
    kept = list(quarantine.listed(Layout(data)))
    assert sorted((one.pair, one.why) for one in kept) == sorted(told)
    listed = dict(rows(data, "SELECT pair, (key, pair_decimals, status) FROM instruments"))
    assert tuple(listed["BTC/USD"].values()) == ("XXBTZUSD", 1, "online")
    assert next(iter(listed["DOGE/USD"].values())) == "XDGUSD"


async def test_a_tokenized_asset_is_recorded_repaired_and_backfilled_like_any_pair(tmp_path: Path) -> None:
    data, sandbox = tmp_path / "data", exchange(tmp_path)
    stock = pair_of("AAPLx/USD", pair_decimals=2, lot_decimals=8, aclass_base="tokenized_asset")
    async with sandbox.serve():
        sandbox.enlist(stock, trades_per_s=5)
        sandbox.burst("AAPLx/USD", 3_000)
        config = config_for(sandbox, data, "AAPLx/USD")
        async with recording(config.model_copy(update={"ohlc": OhlcConfig(timeframes=("1d",))}), OFTEN):
            await until(lambda: held(data, "AAPLx/USD") > 0, what="it is recorded")
            sandbox.faults.outage(1.0)
            sandbox.burst("AAPLx/USD", 1_500)  # more than a snapshot
            await until(whole(data, sandbox, "AAPLx/USD"), what="its hole is repaired")
            environ = environ_for(sandbox, "AAPLx/USD")
            process = Process("backfill", "aaplxusd", "--from", "listing", "--data", str(data), cwd=tmp_path, **environ)
            assert await process.ended() == 0, process.said
            process.close()
            sandbox.freeze()  # what trades on while the recorder ends is nobody's to record
            await until(whole(data, sandbox, "AAPLx/USD"), what="all is held")
        for path in ("Trades", "OHLC"):
            asked = sandbox.requests.to(f"/0/public/{path}")
            assert {dict(parse_qsl(one.query)).get("asset_class") for one in asked} == {"tokenized_asset"}
    assert first_held(data, "AAPLx/USD") == 1
    verdict = compare(archived(data), read_truth(tmp_path / "truth"), pairs=["AAPLx/USD"])
    assert verdict.perfect, str(verdict)
