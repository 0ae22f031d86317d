"""Candles, listings, the exchange's state and refusals, recorded by the whole daemon from the sandbox.

Recorder and sandbox live by one clock that the test leaps ahead, so that hours pass in seconds.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard

from recorder import app
from recorder.archive import archive_id
from recorder.archive.parquet import read_facts
from recorder.clock import SystemClock
from recorder.core.throttling import FIRST_PAUSE_S, FORBIDDEN_PAUSE_S
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.records import Note
from recorder.ops import archive_status
from recorder.sandbox import rest_faults
from recorder.sandbox.exchange_status import LADDER
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import CHARACTERS, Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import FORMS, Throttle
from tests.end_to_end.clock_jumps import LONG_S, SHORT_S, LeapingClock, exchange, recorded, settings
from tests.end_to_end.harness import (
    PATIENCE_S,
    REPOSITORY,
    Process,
    archived,
    candles_held,
    caught_up,
    environ_for,
    kinds,
    rows,
    served,
    until,
)

DAY_S = 86_400
TIMEFRAMES = {"1m": 1, "1h": 60, "1d": 1440}
OFTEN = app.Intervals(listing_s=20, listing_soon_s=5)

NEW = pair_of("NEW/USD", pair_decimals=4, lot_decimals=8)


async def candles_are_right(sandbox: Sandbox, data: Path, pairs: list[str], *, late: int = 1) -> bool:
    """Tell whether all that is served now is held as it is served, but for the last ``late`` candles of a series."""
    for pair in pairs:
        for timeframe, minutes in TIMEFRAMES.items():
            right = await served(sandbox, pair, minutes)
            # What has slipped out of the window since is still held.
            kept = [row for row in candles_held(data, "ohlc", pair, timeframe) if right and row[0] >= right[0][0]]
            assert kept == right[: len(kept)]
            assert len(right) - len(kept) <= late
    return True


async def asked_for_all(sandbox: Sandbox, clock: LeapingClock, series: int) -> None:
    """Return once so many series of candles were asked for, counted from now."""
    before = len(sandbox.requests.to("/0/public/OHLC"))
    await clock.live_until(
        lambda: len(sandbox.requests.to("/0/public/OHLC")) >= before + series, what="candles", leap_s=SHORT_S
    )


async def test_candles_are_recorded_as_served_once_and_a_revised_one_twice(tmp_path: Path) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=0.05)
    pairs = ["BTC/USD", "ETH/EUR", "DOGE/USD"]
    async with sandbox.serve():
        config = settings(sandbox, data, *pairs)
        async with recorded(config, clock):
            await until(lambda: len(sandbox.requests.to("/0/public/OHLC")) >= 9, what="the first round")
            newest_s = sandbox.revise("BTC/USD", 1)
            await clock.live(300)
        old_s = sandbox.revise("BTC/USD", 1, newest_s - 300 * 60)
        async with recorded(config, clock):
            await asked_for_all(sandbox, clock, 9)
        assert await candles_are_right(sandbox, data, pairs)
        for pair in pairs:
            assert candles_held(data, "ohlc_filled", pair, "1m") == candles_held(data, "ohlc", pair, "1m")
    assert any(row[-1] == 0 for row in candles_held(data, "ohlc", "BTC/USD", "1m")), "no silent interval: no test"
    assert rows(data, "FROM ohlc_gaps") == []
    twice = rows(
        data,
        "SELECT pair, timeframe, epoch_us(time) // 1000000 AS start, count(*) FROM stored_ohlc() "
        "GROUP BY ALL HAVING count(*) > 1 ORDER BY start",
    )
    assert twice == [("BTC/USD", "1m", old_s, 2), ("BTC/USD", "1m", newest_s, 2)]
    told = rows(data, "SELECT pair, detail ->> 'timeframe', detail ->> 'time' FROM events WHERE kind = 'ohlc_revised'")
    assert [(pair, timeframe) for pair, timeframe, _ in told] == [("BTC/USD", "1m")] * 2
    assert caught_up(data, {pair: last for pair, last in sandbox.last_ids().items() if pair in pairs})


async def test_a_listing_change_is_stored_and_cuts_vwaps_from_its_time_on(tmp_path: Path) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=20)

    async def read() -> None:
        def readings() -> list[LoggedRequest]:
            """The requests for the usual listing; that for tokenized assets follows each."""
            return [one for one in sandbox.requests.to("/0/public/AssetPairs") if not one.query]

        before = len(readings())
        await clock.live_until(lambda: len(readings()) > before, what="the listing is read")

    async with sandbox.serve():
        async with recorded(settings(sandbox, data, "*/USD", timeframes=("1m",)), clock, OFTEN):
            await until(lambda: bool(data.is_dir() and archive_status.read(data)), what="it records")
            await clock.live(120)
            sandbox.relist("BTC/USD", pair_decimals=3)
            await read()
            sandbox.relist("BTC/USD", status="cancel_only")
            await read()
            sandbox.relist("BTC/USD", status="online", tick_size="0.5")
            sandbox.enlist(NEW, trades_per_s=2)
            await read()
            await clock.live(120)
            sandbox.relist("NEW/USD", wsname="BRAND/USD", altname="BRANDUSD")
            await read()
            sandbox.delist("DOGE/USD")
            await read()
            await clock.live(180)
        candles = await served(sandbox, "BTC/USD", 1)
    changes = rows(
        data,
        "SELECT pair, pair_decimals, status, tick_size, valid_to IS NULL FROM instruments "
        "WHERE pair IN ('BTC/USD', 'NEW/USD', 'BRAND/USD', 'DOGE/USD') ORDER BY pair, valid_from",
    )
    assert changes == [
        ("BRAND/USD", 4, "online", Decimal("0.0001"), True),
        ("BTC/USD", 1, "online", Decimal("0.1"), False),
        ("BTC/USD", 3, "online", Decimal("0.001"), False),
        ("BTC/USD", 3, "cancel_only", Decimal("0.001"), False),
        ("BTC/USD", 3, "online", Decimal("0.5"), True),
        ("DOGE/USD", 7, "online", Decimal("0.0000001"), False),
        ("DOGE/USD", 7, "delisted", Decimal("0.0000001"), True),
        ("NEW/USD", 4, "online", Decimal("0.0001"), False),
        ("NEW/USD", 4, "delisted", Decimal("0.0001"), True),
    ]
    broken = rows(
        data,
        "SELECT a.pair FROM instruments a JOIN instruments b ON a.pair = b.pair AND a.valid_from < b.valid_from "
        "AND coalesce(a.valid_to > b.valid_from, true)",
    )
    assert broken == []
    told = rows(
        data,
        "SELECT kind, pair, detail::VARCHAR FROM events "
        "WHERE kind IN ('listed', 'delisted', 'renamed', 'listing_changed') ORDER BY time, kind, pair",
    )
    assert [(kind, pair, json.loads(detail)) for kind, pair, detail in told] == [
        ("listing_changed", "BTC/USD", {"pair_decimals": [1, 3], "tick_size": ["0.1", "0.001"]}),
        ("listing_changed", "BTC/USD", {"status": ["online", "cancel_only"]}),
        ("listed", "NEW/USD", {"status": "online"}),
        ("listing_changed", "BTC/USD", {"status": ["cancel_only", "online"], "tick_size": ["0.001", "0.5"]}),
        ("delisted", "NEW/USD", {}),
        ("renamed", "BRAND/USD", {"from": "NEW/USD", "to": "BRAND/USD"}),
        ("delisted", "DOGE/USD", {}),
    ]
    built = rows(
        data,
        "SELECT epoch_us(time) // 1000000, open, high, low, close, vwap, volume, count "
        "FROM candles('BTC/USD', '1m') WHERE complete",
    )
    by_time = {row[0]: row for row in candles}
    assert len(built) >= 5
    assert {row[5].normalize().as_tuple().exponent for row in built} >= {-3}
    assert built == [by_time[row[0]] for row in built]


async def test_the_exchange_s_state_is_noted_once_a_change_by_each_source(tmp_path: Path) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock)
    async with sandbox.serve(), recorded(settings(sandbox, data, "BTC/USD", timeframes=()), clock):
        await until(lambda: bool(data.is_dir() and archive_status.read(data)), what="it records")
        # REST is asked every 300 s.
        sandbox.status.climb(step_s=320)
        await clock.live(4 * 320)
        sandbox.status.plan_maintenance(in_s=1800 + 640, for_s=900)
        await clock.live(320)
        sandbox.status.declare_emergency()
        await clock.live(640)
        sandbox.status.all_clear()
        await clock.live(3 * 320)  # so that the same is told again
    told = rows(data, "SELECT detail::VARCHAR FROM events WHERE kind = 'maintenance' ORDER BY time")
    by_source: dict[str, list[tuple[str, list[str], int]]] = {"rest": [], "ws": []}
    for (text,) in told:
        detail = json.loads(text)
        planned = [one["phase"] for one in detail["upcoming_maintenance"]]
        by_source[detail["source"]].append((detail["system"], planned, len(detail["emergency"])))
    ladder: list[tuple[str, list[str], int]] = [("online", [], 0), *((system, [], 0) for system in LADDER)]
    announced = [("online", ["scheduled"], 0), ("online", ["scheduled"], 1), ("online", ["approaching_30m"], 1)]
    assert by_source["ws"] == [*ladder, *announced, ("online", [], 0)]
    assert by_source["rest"] == [*ladder, *announced, ("online", [], 0)]


class Manners:
    """Judges by the sandbox's log whether a client kept silent after each refusal, as long as it must.

    What comes within a leap and a half (of ``leap_s``) was under way already, when the refusal was not heard yet.
    """

    def __init__(self, requests: list[LoggedRequest], leap_s: float) -> None:
        self.refused = [one for one in requests if one.status in {403, 429} or one.fault in REFUSALS]
        self.broken: list[tuple[LoggedRequest, LoggedRequest]] = []
        for refusal in self.refused:
            pause_s = FORBIDDEN_PAUSE_S if refusal.status == 403 else FIRST_PAUSE_S
            self.broken += [
                (refusal, one)
                for one in requests
                if one.method == "GET" and one.status != 101 and 1.5 * leap_s < one.at_s - refusal.at_s < pause_s
                if refusal.status == 200 or one.path == refusal.path
            ]


REFUSALS = {"throttle", "too_many_requests", "rate_limit", "throttled"}
EVERYTHING = {"/0/public/Trades", "/0/public/OHLC", "/0/public/AssetPairs", "/0/public/SystemStatus"}


def whole(data: Path, sandbox: Sandbox, *pairs: str) -> Callable[[], bool]:
    """Tell whether all that was made of these pairs until now is recorded, without a hole."""
    wanted = {pair: sandbox.last_ids()[pair] for pair in pairs}

    def is_so() -> bool:
        found = {one.pair: one for one in archive_status.read(data)}
        return all(
            pair in found and found[pair].last_id >= last and not found[pair].holes for pair, last in wanted.items()
        )

    return is_so


@pytest.mark.parametrize("form", ["too_many_requests", "http_429"])  # by body, by status; each text: test_rest
async def test_nothing_is_asked_while_throttled_and_everything_is_recorded_afterwards(
    tmp_path: Path, form: str
) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=5)
    pairs = ["BTC/USD", "ETH/EUR", "SHIB/USD"]
    async with sandbox.serve():
        sandbox.faults.reject("SHIB/USD")  # so that it is polled
        config = settings(sandbox, data, *pairs, pace=5.0)
        async with recorded(config, clock, OFTEN):
            await clock.live_until(lambda: data.is_dir() and len(archive_status.read(data)) == 3, what="it records")
        for pair in pairs:
            sandbox.burst(pair, 3000)
        sandbox.throttle(Throttle(clock, size=5, per_s=1, sticky=True, form=form))
        async with recorded(config, clock, OFTEN):
            await clock.live(100, SHORT_S)
            sandbox.throttle(None)
            sandbox.faults.rest.throw(form, for_s=40)
            await clock.live(160, SHORT_S)
            sandbox.freeze()
            await clock.live_until(whole(data, sandbox, *pairs), what="all is recorded", leap_s=SHORT_S)
        manners = Manners(list(sandbox.requests), SHORT_S)
    assert len(manners.refused) >= 3
    assert manners.broken == []
    assert kinds(data)["throttled"] == len(manners.refused)
    verdict = compare(archived(data), read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)


BROKEN = [
    ("unavailable", "busy", "internal_error"),
    ("http_302", "http_500", "http_502", "http_503", "http_520"),
    ("http_403",),
    ("slow", "cached"),
    ("truncated", "cut", "no_last"),
]
PUBLIC = {"Trades", "OHLC", "AssetPairs", "SystemStatus"}


def test_every_mishap_is_tried() -> None:
    assert {name for names in BROKEN for name in names} | set(FORMS) == set(rest_faults.NAMES)


@pytest.mark.parametrize("names", BROKEN, ids="-".join)
async def test_after_faults_of_every_endpoint_everything_is_recorded(tmp_path: Path, names: tuple[str, ...]) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=2)
    pairs = ["BTC/USD", "ETH/EUR", "SHIB/USD"]
    async with sandbox.serve():
        sandbox.faults.reject("SHIB/USD")  # so that it is polled
        config = settings(sandbox, data, *pairs, pace=20.0)
        async with recorded(config, clock, OFTEN):
            await clock.live_until(lambda: data.is_dir() and len(archive_status.read(data)) == 3, what="it records")
        for name in names:
            for pair in pairs:
                sandbox.burst(pair, 1200)
            asked = len(sandbox.requests)
            if name == "http_403":  # each one silences everything for two minutes
                for method in PUBLIC:
                    sandbox.faults.rest.throw(name, n=1, path=f"/0/public/{method}")
            else:
                sandbox.faults.rest.throw(name, for_s=70, delay_s=3.0)
            async with recorded(config, clock, OFTEN):
                await clock.live(20, 1.0)
                sandbox.clients.hang_up()
                await clock.live(60, 1.0)
                struck = [one for one in list(sandbox.requests)[asked:] if one.fault]
                if name == "http_403":
                    await clock.live(5 * FORBIDDEN_PAUSE_S, LONG_S)
                else:
                    assert {one.path.rpartition("/")[2] for one in struck} >= PUBLIC
                await clock.live_until(whole(data, sandbox, *pairs), what="all is recorded", leap_s=SHORT_S)
        async with recorded(config, clock):
            sandbox.freeze()
            await asked_for_all(sandbox, clock, 9)
            await clock.live_until(whole(data, sandbox, *pairs), what="all is recorded", leap_s=SHORT_S)
        assert await candles_are_right(sandbox, data, pairs)
    verdict = compare(archived(data), read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)
    assert rows(data, "FROM ohlc_gaps") == []
    assert Manners(list(sandbox.requests), LONG_S).broken == []


async def test_candles_lost_in_a_downtime_are_told_and_filled_from_trades(tmp_path: Path) -> None:
    clock = LeapingClock()
    data, sandbox = tmp_path / "data", exchange(tmp_path, clock, rate=0.2)
    pairs = ["BTC/USD", "ETH/EUR"]
    window_s = 720 * 60
    async with sandbox.serve():
        config = settings(sandbox, data, *pairs)
        async with recorded(config, clock):
            await until(lambda: len(sandbox.requests.to("/0/public/OHLC")) >= 6, what="the first round")
        down_s = clock.wall_ns() // 1_000_000_000 // 60 * 60
        clock.leap(window_s - 600)
        true = {pair: {row[0]: row for row in await served(sandbox, pair, 1)} for pair in pairs}
        clock.leap(3600)
        async with recorded(config, clock):
            await asked_for_all(sandbox, clock, 6)
            await clock.live_until(whole(data, sandbox, *pairs), what="the trades are fetched", leap_s=SHORT_S)
        up_s = clock.wall_ns() // 1_000_000_000 // 60 * 60
        first_served_s = (await served(sandbox, "BTC/USD", 1))[0][0]
    told = rows(data, "SELECT pair, detail::VARCHAR FROM events WHERE kind = 'ohlc_lost' ORDER BY pair")
    gaps = rows(
        data,
        "SELECT pair, timeframe, epoch_us(first_time) // 1000000, epoch_us(last_time) // 1000000, missing "
        "FROM ohlc_gaps ORDER BY pair",
    )
    missing = (first_served_s - down_s) // 60
    assert 45 <= missing <= 55
    assert up_s - first_served_s == window_s
    assert gaps == [(pair, "1m", down_s, first_served_s - 60, missing) for pair in pairs]
    assert [(pair, json.loads(detail)["timeframe"], json.loads(detail)["count"]) for pair, detail in told] == [
        (pair, "1m", missing) for pair in pairs
    ]
    for pair in pairs:
        whole_day = candles_held(data, "ohlc_filled", pair, "1m")
        filled = [row for row in whole_day if down_s <= row[0] < first_served_s]
        assert filled == [true[pair][row[0]] for row in filled]
        assert len(filled) == missing
        assert [after[0] - before[0] for before, after in pairwise(whole_day)] == [60] * (len(whole_day) - 1)


KILLS = 2
"""At least, and more until one came in the middle of a drain."""


async def drained_half(data: Path) -> None:
    """Return the moment a file of events appears: its segment's candles are still to be written, and it to retire."""
    before = set((data / "events").glob("year=2*/*.parquet"))
    async with asyncio.timeout(PATIENCE_S):
        while not set((data / "events").glob("year=2*/*.parquet")) - before:
            await asyncio.sleep(0)


def drained_twice(data: Path) -> set[int]:
    """Return the segments whose events are archived, and which the next start drains again nevertheless."""
    archived_ones = {
        name.number for path in (data / "events").glob("year=2*/*.parquet") for name in read_facts(path).footer.segments
    }
    return archived_ones & {segment.number_of(path) for path in segment.segments(data / "journal")}


async def test_killed_while_draining_tables_each_row_is_there_once(tmp_path: Path) -> None:
    """The host's clock, a drain every second, kill -9 in the middle of one again and again."""
    half_drained: set[int] = set()
    clock = SystemClock()
    data = tmp_path / "data"
    market = Market(start_ns=clock.wall_ns(), rate=20, history={pair.pair.symbol: 3000 for pair in CHARACTERS})
    sandbox = Sandbox(market, clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        environ = environ_for(sandbox) | {"RECORDER_OHLC__REFRESH": "2s"}
        for kill in count():
            asked = len(sandbox.requests.to("/0/public/OHLC"))
            process = Process("run", "--data", str(data), cwd=tmp_path, **environ)
            try:
                series = 3 * len(market.listing.pairs)
                await until(
                    lambda: len(sandbox.requests.to("/0/public/OHLC")) >= asked + series,  # noqa: B023 -- awaited here
                    what="candles",
                )
                if kill < KILLS or not half_drained:
                    sandbox.clients.hang_up()  # so that there is something to tell
                    await drained_half(data)
                    process.signal(signal.SIGKILL)
                    await process.ended()
                    half_drained |= drained_twice(data)
                    sandbox.relist("MINA/GBP", costmin=str(kill + 1))
                else:
                    sandbox.freeze()
                    await until(lambda: caught_up(data, sandbox.last_ids()), what="all is recorded")
                    process.signal(signal.SIGTERM)
                    assert await process.ended() == 0
                    break
            finally:
                process.close()
        assert await candles_are_right(sandbox, data, [pair.symbol for pair in market.listing.pairs])
    assert compare(archived(data), read_truth(tmp_path / "truth")).perfect
    ((stored, different),) = rows(data, "SELECT count(*), count(DISTINCT (pair, timeframe, time)) FROM stored_ohlc()")
    assert stored == different > 0
    assert rows(data, "SELECT costmin FROM instruments WHERE pair = 'MINA/GBP' ORDER BY valid_from") == [
        (Decimal("0.5"),),
        *((Decimal(n),) for n in range(1, kill + 1)),
    ]
    assert {read_facts(path).footer.archive for path in data.rglob("0*.parquet")} == {archive_id.read(data)}
    noted = notes(data)
    told = Counter(rows(data, "SELECT epoch_us(time), kind, pair FROM events WHERE kind <> 'listing_changed'"))
    assert told == noted
    assert kinds(data)["listing_changed"] == kill
    assert kinds(data)["connected"] > kill


def notes(data: Path) -> Counter[tuple[Any, ...]]:
    """Return the notes in the raw frames, which nothing has passed through but the journal."""
    found: Counter[tuple[Any, ...]] = Counter()
    for path in (data / "raw").glob("*.zst"):
        with path.open("rb") as file:
            text = zstandard.ZstdDecompressor().stream_reader(file).read()
        for line in text.splitlines():
            record = records.read(segment.decode(line))
            if isinstance(record, Note):
                event = record.event()
                found[event.time_us, event.kind, event.pair] += 1
    return found


def told(data: Path, source: str, words: bytes) -> list[bytes]:
    """Return the lines of the journal that are of ``source`` and contain ``words``."""
    lines = [line for path in data.glob("journal/*") for line in path.read_bytes().splitlines()]
    return [line for line in lines if f'"{source}'.encode() in line and words in line]


async def test_a_run_with_the_default_configuration_shows_everything_in_sql_and_status(tmp_path: Path) -> None:
    data, environ = tmp_path / "d", {"RECORDER_OPS__PORT": "0", "COLUMNS": "80"}
    arguments = ["--config", str(REPOSITORY / "config.yaml"), "--sandbox", "--data", "d"]
    process = Process("run", *arguments, cwd=tmp_path, **environ)
    try:
        await until(lambda: len(told(data, "note", b'"subscribed"')) == 3, what="all is subscribed")
        await until(lambda: len(told(data, "rest:/0/public/OHLC", b"interval=1#")) == 3, what="candles were answered")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0, process.said
    finally:
        process.close()
    process = Process("status", "--data", "d", cwd=tmp_path, **environ)
    try:
        assert await process.ended() == 0, process.said
        said = process.said
    finally:
        process.close()
    assert {pair for (pair,) in rows(data, "SELECT DISTINCT pair FROM trades")} == {"BTC/USD", "ETH/EUR", "DOGE/USD"}
    assert rows(data, "SELECT count(*) > 0, min(timeframe) FROM ohlc") == [(True, "1m")]
    assert rows(data, "SELECT count(*) FROM instruments WHERE valid_to IS NULL") == [(6,)]
    assert kinds(data)["subscribed"] == 3
    assert max(map(len, said.splitlines())) <= 80
    assert all(word in said for word in ("BTC/USD", "no holes", "1m", "exchange", "online"))
