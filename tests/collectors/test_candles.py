from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast
from unittest import mock
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from recorder.collectors.candles import CandleCollector, Wanted
from recorder.core.candle_schedule import WINDOW, Series
from recorder.core.model import TIMEFRAMES, Candle, Instrument
from recorder.core.throttling import FIRST_PAUSE_S, Pace
from recorder.kraken import asset_pairs, ohlc_answers, records, rest_api
from recorder.kraken.records import PublishedCandles
from recorder.net.http import Http
from recorder.sandbox.market import Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import Throttle
from tests.builders import PAIR, events
from tests.clocks import ManualClock, running, settle
from tests.fakes import Fakes

HOUR_S = 3600
OHLC_PATH = "/0/public/OHLC"


class _Response:
    """What the REST client uses of a response."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status, self.headers, self.url = status, headers, URL("/")
        self.content = self
        self._body = body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body


class _Door:
    """A client session without sockets: the edge of the sandbox, asked directly."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        # A mock takes longer to make than a request to answer.
        self._mocks: dict[str, Any] = {name: mock.Mock() for name in ("app", "transport", "protocol", "writer")}
        self.odd: list[bytes] = []

    @contextlib.asynccontextmanager
    async def get(self, url: URL, **_: Any) -> AsyncIterator[_Response]:
        match_info = {"method": url.path.rpartition("/")[2]}
        request = make_mocked_request("GET", url.raw_path_qs, match_info=match_info, **self._mocks)
        response = self._sandbox.edge.closed_answer(request) or await self._sandbox.edge.respond(request)
        assert isinstance(response, aiohttp.web.Response)
        body = self.odd.pop(0) if self.odd else response.body
        assert isinstance(body, bytes)
        yield _Response(response.status, body, dict(response.headers))


class Bench(Fakes):
    """The collector and the sandbox exchange in virtual time, with the real REST client and pace between them."""

    def __init__(
        self,
        *timeframes: str,
        per_s: float = 1.0,
        refresh_s: float = 60.0,
        inclusive: bool = True,
        pairs: Sequence[str] = (PAIR, "MINA/GBP"),
    ) -> None:
        clock = ManualClock(look_ns=100)
        # The trades go back for more than a window of minutes.
        market = Market(start_ns=clock.wall_ns(), rate=0.05, history=6_000)
        self.sandbox = Sandbox(market, clock=clock, inclusive_ohlc=inclusive)
        self.door = _Door(self.sandbox)
        self.told: list[tuple[float, float]] = []
        self.http = Http(
            cast("aiohttp.ClientSession", self.door),
            "http://sandbox",
            pace=Pace(per_s),
            clock=clock,
            refused=self._refused,
        )
        super().__init__(self.http, clock=clock)
        self.instruments = {pair: self.listed()[pair] for pair in pairs}
        self.unknown: list[str] = []
        self.timeframes = timeframes
        self.ohlc = CandleCollector(
            self.context,
            wanted=Wanted(timeframes, refresh_s, per_s),
            instruments=self.instruments,
            unknown=self.unknown.append,
        )
        self.truth: dict[tuple[str, str, int], Candle] = {}

    def listed(self) -> dict[str, Instrument]:
        answer = self.sandbox._answer("AssetPairs", {}).encode()
        return {
            instrument.pair: instrument
            for instrument in asset_pairs.parse_listing(rest_api.result(200, answer)).entries
        }

    async def pass_time(self, seconds: float, step_s: float = 0.0) -> None:
        """Let time leap from one sleeper to the next; each hour, look at what the exchange serves."""
        end_ns = self.clock.wall_ns() + round(seconds * 1e9)
        look_ns = self.clock.wall_ns()
        while True:
            await settle()
            self.journalled()
            if self.clock.wall_ns() >= look_ns:
                self.look()
                look_ns += HOUR_S * 10**9
            next_ns = min([*self.clock.waking_ns, end_ns])
            if next_ns >= end_ns:
                break
            self.clock.move((next_ns - self.clock.wall_ns()) / 1e9)
        self.clock.move((end_ns - self.clock.wall_ns()) / 1e9)
        await settle()
        self.journalled()

    def look(self) -> None:
        """Take in what the exchange serves now of what is recorded."""
        for pair, timeframe in itertools.product(self.instruments, self.timeframes):
            query = {"pair": pair, "interval": str(TIMEFRAMES[timeframe])}
            if pair not in self.sandbox.market.listing:
                continue
            answer = rest_api.result(200, self.sandbox._answer("OHLC", query).encode())
            for candle in ohlc_answers.parse_answer(answer, pair, timeframe).rows:
                self.truth[pair, timeframe, candle.time_us] = candle

    def recorded(self) -> dict[tuple[str, str, int], Candle]:
        """Return the latest seen of each candle that was journalled."""
        return {
            (candle.pair, candle.timeframe, candle.time_us): candle
            for entry in self.entries
            if isinstance(answer := records.read(entry), PublishedCandles)
            for candle in answer.candles()
        }

    def complete(self, *, within_s: float = 180.0) -> bool:
        """Tell whether every candle served is recorded as it is served, but for those of the last moments."""
        self.look()
        recorded, now_us = self.recorded(), self.clock.wall_ns() // 1000
        settled = {
            key: candle
            for key, candle in self.truth.items()
            if candle.time_us + TIMEFRAMES[candle.timeframe] * 60_000_000 < now_us - within_s * 1e6
        }
        assert settled, "nothing to compare"
        assert settled.keys() <= recorded.keys(), f"misses {sorted(settled.keys() - recorded.keys())[:3]}"
        return all(recorded[key] == candle for key, candle in settled.items())

    def asked(self) -> list[LoggedRequest]:
        return self.sandbox.requests.to(OHLC_PATH)

    async def _refused(self, *, reason: str, path: str, scope: str, pause_s: float, per_s: float) -> None:
        self.told.append((self.clock.monotonic(), pause_s))


@contextlib.asynccontextmanager
async def collecting(*timeframes: str, **options: Any) -> AsyncIterator[Bench]:
    bench = Bench(*timeframes, **options)
    async with running(bench.ohlc):
        yield bench


def spacing_s(requests: list[LoggedRequest]) -> Iterator[float]:
    return (later.at_s - sooner.at_s for sooner, later in itertools.pairwise(requests))


def since_of(request: LoggedRequest) -> str | None:
    return parse_qs(request.query).get("since", [None])[0]


@pytest.mark.parametrize("inclusive", [True, False])
async def test_every_candle_is_recorded_soon_after_its_end_within_the_pace(*, inclusive: bool) -> None:
    async with collecting("1m", "1h", "1d", inclusive=inclusive) as bench:
        await bench.pass_time(8 * HOUR_S)
        assert bench.complete(within_s=62)
        asked = bench.asked()
        assert min(spacing_s(asked)) >= 1.0 - 1e-6
        first = asked[:6]
        assert [parse_qs(request.query)["interval"] for request in first] == [["1"]] * 2 + [["60"]] * 2 + [["1440"]] * 2
        assert [since_of(request) for request in first] == [None] * 6
        minutes = [request for request in asked if "pair=XBTUSD&interval=1&" in request.query + "&"]
        assert len(minutes) == pytest.approx(8 * 60, abs=3), "once a minute"
        # The first, and one before each half of the window.
        assert sum(since_of(request) is None for request in minutes) == 2
        newest = [int(since or 0) for since in map(since_of, minutes) if since]
        assert newest == sorted(newest)
        assert len([request for request in asked if "interval=1440" in request.query]) <= 4, "a day's once a day"


async def test_answers_are_journalled_as_they_came_under_the_name_of_the_request() -> None:
    async with collecting("1m") as bench:
        await bench.pass_time(5)
        entry = bench.entries[0]
        assert entry.source == "rest:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD"
        assert entry.payload.startswith(b'{"error":[],"result":{"XXBTZUSD":[[')
        answer = records.read(entry)
        assert isinstance(answer, records.PublishedCandles)
        assert len(answer.candles()) == WINDOW
        assert bench.value("recorder_candle_answers_total", timeframe="1m") == 2
        assert bench.value("recorder_candle_slack_seconds") == pytest.approx(WINDOW * 60, abs=70)


async def test_without_timeframes_nothing_is_asked() -> None:
    async with collecting() as bench:
        await settle()
        bench.ohlc.follow([bench.listed()["ETH/EUR"]], ["GONE/USD"])
        await bench.pass_time(HOUR_S)
        assert bench.asked() == []
        assert bench.value("recorder_candle_slack_seconds") == float("inf")


async def test_new_timeframes_are_requested_at_once_and_the_others_continue() -> None:
    async with collecting("1m", "1h") as bench:
        await bench.pass_time(600)
        before = len(bench.asked())
        bench.timeframes = ("1m", "5m")
        bench.ohlc.want(Wanted(bench.timeframes, 60.0, 1.0))
        await bench.pass_time(2 * HOUR_S)
        after = [(parse_qs(request.query)["interval"][0], since_of(request)) for request in bench.asked()[before:]]
        assert [since for interval, since in after if interval == "5"].count(None) == 2, "all of it, once for each pair"
        assert {interval for interval, _ in after} == {"1", "5"}
        assert None not in [since for interval, since in after if interval == "1"]
        assert bench.complete()
        bench.ohlc.want(Wanted((), 60.0, 1.0))
        before = len(bench.asked())
        await bench.pass_time(HOUR_S)
        assert len(bench.asked()) == before


async def test_a_throttle_is_obeyed_and_costs_no_candle() -> None:
    async with collecting("1m", "1h") as bench:
        await bench.pass_time(60)
        bench.sandbox.throttle(Throttle(bench.clock, size=3, per_s=0.02, sticky=True))
        await bench.pass_time(HOUR_S)
        assert bench.told, "it was refused"
        for at_s, pause_s in bench.told:
            assert pause_s >= FIRST_PAUSE_S
            assert not [request for request in bench.asked() if at_s < request.at_s < at_s + pause_s - 0.001]
        bench.sandbox.throttle(None)
        await bench.pass_time(2 * HOUR_S)
        assert bench.complete()


@pytest.mark.parametrize("mishap", ["unavailable", "http_502", "http_403", "truncated", "cached", "slow"])
async def test_whatever_goes_wrong_with_answers_for_an_hour_costs_no_candle(mishap: str) -> None:
    async with collecting("1m", "1h") as bench:
        await bench.pass_time(90)
        bench.sandbox.faults.throw(mishap, HOUR_S)
        await bench.pass_time(HOUR_S + 900)
        assert bench.complete()
        assert all(entry.source.startswith(("rest:", "note")) for entry in bench.entries)
        assert min(spacing_s(bench.asked())) >= 1.0 - 1e-6


async def test_an_answer_without_its_last_is_read_up_to_the_running_candle() -> None:
    async with collecting("1m") as bench:
        bench.sandbox.faults.throw("no_last")
        await bench.pass_time(HOUR_S)
        assert bench.complete()


async def test_an_outage_loses_only_the_candles_beyond_the_window() -> None:
    async with collecting("1m", "1h", pairs=[PAIR]) as bench:
        await bench.pass_time(300)
        bench.sandbox.faults.refuse(11 * HOUR_S)
        await bench.pass_time(11.2 * HOUR_S)
        assert bench.complete()
        bench.sandbox.faults.refuse(13 * HOUR_S)
        began_us = bench.clock.wall_ns() // 1000
        await bench.pass_time(13 * HOUR_S)
        assert bench.value("recorder_candle_slack_seconds") == pytest.approx(-HOUR_S, abs=400), (
            "a metric said so before it was over"
        )
        bench.truth.clear()
        await bench.pass_time(900)
        assert bench.complete(), "all that was still served is held"
        minutes = sorted(time_us for pair, timeframe, time_us in bench.recorded() if (pair, timeframe) == (PAIR, "1m"))
        jumps = [(later - sooner) // 60_000_000 for sooner, later in itertools.pairwise(minutes)]
        assert sum(jump != 1 for jump in jumps) == 1
        assert max(jumps) == pytest.approx(60, abs=12), "an hour of minutes beyond the window, and a retry"
        assert sorted(minutes)[jumps.index(max(jumps))] <= began_us


async def test_a_candle_that_is_revised_hours_later_is_seen_again() -> None:
    async with collecting("1m", pairs=[PAIR]) as bench:
        await bench.pass_time(6 * HOUR_S)
        start_s = bench.clock.wall_ns() // 10**9 // 60 * 60 - 5 * HOUR_S
        key = (PAIR, "1m", start_s * 1_000_000)
        before = bench.recorded()[key]
        bench.sandbox.revise(PAIR, 1, start_s)
        await bench.pass_time(6.2 * HOUR_S)
        assert bench.recorded()[key].volume > before.volume
        assert bench.complete()


@pytest.mark.parametrize(
    "odd",
    [
        b'{"error":[],"result":{"XXBTZUSD":[[1,"a","b","c","d","e","f",1],[2,"a","1","1","1","1","1",1]],"last":1}}',
        b'{"error":[],"result":{"last":1}}',
        b'["surprise"]',
    ],
)
async def test_what_cannot_be_read_is_kept_beside_noted_and_asked_for_again(odd: bytes) -> None:
    bench = Bench("1m")
    bench.door.odd = [odd]
    async with running(bench.ohlc):
        await bench.pass_time(60)
        (kept,) = [entry for entry in bench.entries if entry.source.startswith("rest-unreadable:")]
        assert (kept.source, kept.payload) == ("rest-unreadable:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD", odd)
        (event,) = events(bench.entries)
        assert (event.kind, event.pair, json.loads(event.detail)["source"]) == ("malformed", PAIR, kept.source)
        assert len(bench.recorded()) >= WINDOW, "it was asked for again, and read"
        assert bench.complete()


async def test_candles_that_do_not_continue_are_journalled_and_all_requested() -> None:
    async with collecting("1m") as bench:
        await bench.pass_time(90)
        start_s = bench.clock.wall_ns() // 10**9 // 60 * 60 + 1000 * 60
        row = f'[{start_s},"1","1","1","1","1","1",1]'
        unfinished = row.replace(str(start_s), str(start_s + 60))
        bench.door.odd = [f'{{"error":[],"result":{{"XXBTZUSD":[{row},{unfinished}],"last":{start_s}}}}}'.encode()]
        asked = len(bench.asked())
        await bench.pass_time(90)
        again = [request for request in bench.asked()[asked:] if "pair=XBTUSD" in request.query]
        assert [since_of(request) is None for request in again][:2] == [False, True]
        assert (PAIR, "1m", start_s * 1_000_000) in bench.recorded()
        await bench.pass_time(600)
        assert bench.complete()


async def test_pairs_come_and_go_while_it_runs() -> None:
    async with collecting("1m", "1h") as bench:
        await bench.pass_time(120)
        bench.sandbox.delist("MINA/GBP")
        await bench.pass_time(600)
        assert set(bench.unknown) == {"MINA/GBP"}
        refused = [request for request in bench.asked()[-60:] if "MINAGBP" in request.query]
        assert 2 < len(refused) < 20, "tried again, ever later"
        del bench.instruments["MINA/GBP"]
        bench.ohlc.follow([], ["MINA/GBP"])
        told, asked = len(bench.unknown), len(bench.asked())
        await bench.pass_time(HOUR_S)
        assert len(bench.unknown) == told
        assert not [request for request in bench.asked()[asked:] if "MINAGBP" in request.query]
        bench.sandbox.enlist(pair_of("NEW/EUR", quote="ZEUR", pair_decimals=3, lot_decimals=8), trades_per_s=0.1)
        bench.instruments["NEW/EUR"] = bench.listed()["NEW/EUR"]
        bench.ohlc.follow([bench.instruments["NEW/EUR"]], [])
        bench.truth = {key: candle for key, candle in bench.truth.items() if key[0] == PAIR}
        await bench.pass_time(2 * HOUR_S)
        assert bench.complete()
        assert {pair for pair, *_ in bench.recorded()} >= {PAIR, "NEW/EUR"}


async def test_a_pair_that_leaves_the_mapping_alone_is_forgotten() -> None:
    async with collecting("1m") as bench:
        await bench.pass_time(30)
        del bench.instruments["MINA/GBP"]
        asked = len(bench.asked())
        await bench.pass_time(600)
        assert not [request for request in bench.asked()[asked:] if "MINAGBP" in request.query]
        assert Series("MINA/GBP", "1m") not in bench.ohlc._schedule


async def test_it_takes_turns_with_other_tasks_of_the_same_client() -> None:
    async with collecting("1m", "5m", "15m", "30m", "1h") as bench:

        async def greedy() -> None:
            while True:
                await bench.http.get(rest_api.system_status())

        others = [asyncio.create_task(greedy()) for _ in range(2)]
        await bench.pass_time(300)
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        assert min(spacing_s(list(bench.sandbox.requests))) >= 1.0 - 1e-6
        assert len(bench.sandbox.requests) == pytest.approx(300, abs=3)
        assert bench.asked()[9].at_s <= 31, "all ten series, beside two that always ask"
        assert [request.path for request in itertools.islice(bench.sandbox.requests, 3, 9)].count(OHLC_PATH) == 2
