from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import msgspec

from recorder.collectors.silent_pairs import FETCHES, SilentPairWatch
from recorder.core.model import Instrument, Trade
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Run, Span
from recorder.errors import ExchangeError, Unavailable, UnknownPair
from recorder.kraken import asset_pairs
from recorder.kraken.rest_api import Request
from recorder.net.http import Http, HttpAnswer, client_session
from recorder.repair.catch_up import CatchUp
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.builders import BTC, ETH, PAIR, trade
from tests.clocks import ManualClock, running
from tests.fakes import Fakes


class Ticker:
    """Answers Ticker: each pair has made so many trades, all of them today."""

    def __init__(self) -> None:
        self.made: dict[str, int] = {}
        self.unlisted: set[str] = set()
        self.problems: list[ExchangeError] = []
        self.delays: list[Callable[[], Awaitable[None]]] = []
        self.bodies: list[bytes] = []
        self.asked: list[str] = []

    async def get(self, request: Request) -> HttpAnswer:
        self.asked.append(request.target)
        if self.delays:
            await self.delays.pop(0)()
        if self.problems:
            raise self.problems.pop(0)
        names = parse_qs(request.target.partition("?")[2]).get("pair", [""])[0].split(",")
        if self.unlisted & set(names):
            raise UnknownPair("Kraken answered 'EQuery:Unknown asset pair'")
        table: dict[str, Any] = {
            key: {"c": [str(made), "1"], "t": [made, made]}
            for key, made in self.made.items()
            if key not in self.unlisted
        }
        result = self.bodies.pop(0) if self.bodies else json.dumps(table).encode()
        return HttpAnswer(1, b'{"error":[],"result":' + result + b"}", result)


class FakeTail:
    """Fetches, at once, whatever the exchange has."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.asked, self.works = bench, list[str](), True
        self.may = asyncio.Event()
        self.may.set()

    async def fetch_newest(self, pair: str) -> int | None:
        self.asked.append(pair)
        await self.may.wait()
        if not self.works:
            return None
        made = self.bench.http.made[self.bench.instruments[pair].key]
        self.bench.hold(pair, made)
        return made


class FakeStream:
    """Streams everything but what is ``down``."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.ids: dict[str, int] = {}
        self.renewed: list[list[str]] = []

    def streaming(self, pair: str) -> bool:
        return pair not in self.down

    def heard(self, pair: str) -> int:
        return self.ids.get(pair, 0)

    def last_heard(self, pair: str) -> Trade | None:
        if pair not in self.ids:
            return None
        last, one = self.ids[pair], Decimal(1)
        return msgspec.structs.replace(trade(last, pair=pair), price=Decimal(last), qty=one)

    async def resubscribe(self, pairs: Sequence[str]) -> None:
        self.renewed.append(list(pairs))


class Bench(Fakes):
    def __init__(self, *instruments: Instrument) -> None:
        self.http, self.stream = Ticker(), FakeStream()
        super().__init__(self.http)
        self.instruments = {instrument.pair: instrument for instrument in instruments or (BTC, ETH)}
        self.tail = FakeTail(self)
        for instrument in self.instruments.values():
            self.trade(instrument, 10)
        self.watch = SilentPairWatch(
            self.ledger,
            self.context,
            instruments=self.instruments,
            catch_up=self.tail,
            stream=self.stream,
            feed=self.stream,
        )

    async def begin(self, wait_s: float = 90) -> None:
        """Let the first look pass, which leaves a doubt about each pair, and REST answer."""
        await self.pass_time(wait_s)
        assert set(self.tail.asked) <= set(self.instruments)
        self.tail.asked.clear()

    def hold(self, pair: str, last: int) -> None:
        self.ledger.observe(Run(pair, Span(1, last), 1, last))

    def hear(self, pair: str, last: int) -> None:
        """Let the frames up to ``last`` arrive."""
        self.stream.ids[pair] = last
        self.hold(pair, last)

    def trade(self, instrument: Instrument, last: int, *, heard: bool = True) -> None:
        """Let ``instrument`` have made ``last`` trades."""
        self.http.made[instrument.key] = last
        if heard:
            self.hear(instrument.pair, last)


@contextlib.asynccontextmanager
async def watching(*instruments: Instrument) -> AsyncIterator[Bench]:
    bench = Bench(*instruments)
    async with running(bench.watch):
        yield bench


async def test_one_call_a_minute_for_all_pairs_and_a_quiet_market_changes_nothing() -> None:
    async with watching() as bench:
        await bench.pass_time(60 * 30)
        assert len(bench.http.asked) == 29
        assert set(bench.http.asked) == {"/0/public/Ticker?pair=XBTUSD%2CETHUSD"}
        assert (bench.tail.asked, bench.stream.renewed, bench.noted()) == ([PAIR, "ETH/USD"], [], [])


async def test_a_market_that_is_heard_changes_nothing() -> None:
    async with watching() as bench:
        for last in range(11, 500):
            bench.trade(BTC, last)
            bench.trade(ETH, last)
            await bench.pass_time(3)
        assert len(bench.http.asked) == 24
        assert (bench.tail.asked, bench.stream.renewed, bench.noted()) == ([], [], [])


async def test_a_silent_pair_is_fetched_at_the_first_check_and_resubscribed_next() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.trade(ETH, 11)
        await bench.pass_time(60)
        bench.trade(ETH, 12, heard=False)
        await bench.pass_time(60)
        assert (bench.tail.asked, bench.stream.renewed) == (["ETH/USD"], [])
        detail = {"moved": ["price", "count"], "held": 11, "resubscribing": False}
        assert bench.noted() == [{"kind": "behind", "pair": "ETH/USD", **detail}]
        await bench.pass_time(60)
        assert (bench.tail.asked, bench.stream.renewed) == (["ETH/USD"] * 2, [["ETH/USD"]])
        assert [note["resubscribing"] for note in bench.noted()] == [True]
        await bench.pass_time(600)
        assert bench.stream.renewed == [["ETH/USD"]], "a quiet market asks for nothing"


async def test_a_pair_silent_before_the_first_check_is_resubscribed_at_the_second() -> None:
    async with watching() as bench:
        del bench.stream.ids["ETH/USD"]
        for last in (11, 12, 13):
            bench.trade(ETH, last, heard=False)
            await bench.pass_time(50)
        assert bench.stream.renewed == [["ETH/USD"]]


async def test_trades_lost_before_the_first_check_are_fetched_by_it() -> None:
    async with watching() as bench:
        bench.trade(ETH, 13, heard=False)
        await bench.pass_time(80)
        assert bench.tail.asked == ["ETH/USD", PAIR], "who shows another last trade comes first"
        detail = {"moved": ["price"], "held": 10, "resubscribing": False}
        assert bench.noted() == [{"kind": "behind", "pair": "ETH/USD", **detail}]
        await bench.pass_time(600)
        assert (len(bench.tail.asked), bench.stream.renewed) == (3, [["ETH/USD"]]), "and it is not asked for ever"


async def test_what_was_lost_behind_an_equal_last_trade_is_found_by_asking() -> None:
    async with watching(ETH) as bench:
        bench.http.made[ETH.key] = 13
        bench.http.bodies = [b'{"XETHZUSD":{"c":["10","1"],"t":[13,13]}}']
        await bench.pass_time(80)
        assert bench.tail.asked == ["ETH/USD"]
        assert bench.noted() == [{"kind": "behind", "pair": "ETH/USD", "moved": [], "held": 10, "resubscribing": False}]


async def test_what_others_fetch_meanwhile_was_not_heard() -> None:
    async with watching() as bench:
        for last in (11, 12, 13):
            bench.trade(ETH, last, heard=False)
            bench.hold("ETH/USD", last)
            await bench.pass_time(50)
        assert bench.stream.renewed == [["ETH/USD"]]


async def test_an_id_that_is_not_believed_does_not_make_a_pair_heard_for_good() -> None:
    async with watching() as bench:
        bench.stream.ids["ETH/USD"] = 2**40
        for last in (11, 12, 13):
            bench.trade(ETH, last, heard=False)
            await bench.pass_time(50)
        assert bench.stream.renewed == [["ETH/USD"]]


async def test_while_the_tail_cannot_be_fetched_the_next_look_subscribes_anew() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.tail.works = False
        bench.trade(ETH, 11)
        await bench.pass_time(60)
        bench.trade(ETH, 12, heard=False)
        await bench.pass_time(120)
        assert (bench.tail.asked, bench.stream.renewed) == (["ETH/USD"] * 2, [["ETH/USD"]])


async def test_a_frame_that_comes_within_the_grace_is_waited_for() -> None:
    async with watching() as bench:
        await bench.begin()
        await bench.pass_time(30)
        bench.trade(BTC, 11, heard=False)
        await bench.pass_time(9)
        assert len(bench.http.asked) == 2
        bench.hear(PAIR, 11)
        await bench.pass_time(60)
        assert bench.tail.asked == []


async def test_an_answer_may_lag_behind_the_frames_by_seconds() -> None:
    async with watching() as bench:
        await bench.pass_time(62)
        bench.hear(PAIR, 11)
        await bench.pass_time(5)
        assert len(bench.http.asked) == 1
        bench.trade(BTC, 11)
        await bench.pass_time(120)
        assert bench.noted() == []


async def test_a_pair_subscribed_after_the_check_may_still_wait_for_its_snapshot() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.stream.down = {PAIR}
        bench.trade(BTC, 11, heard=False)
        await bench.pass_time(39)
        assert len(bench.http.asked) == 2
        bench.stream.down = set()
        await bench.pass_time(2)
        bench.hear(PAIR, 11)
        await bench.pass_time(120)
        assert bench.tail.asked == []


async def test_a_pair_that_is_not_streamed_is_not_judged_until_it_is_again() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.stream.down = {PAIR, "ETH/USD"}
        bench.trade(BTC, 11, heard=False)
        bench.trade(ETH, 11, heard=False)
        await bench.pass_time(180)
        assert bench.tail.asked == []
        bench.stream.down = set()
        bench.hear(PAIR, 11)  # by the snapshot; the other one has none
        await bench.pass_time(60)
        assert bench.tail.asked == ["ETH/USD"]


async def test_a_pair_whose_connection_ends_within_the_grace_is_not_judged() -> None:
    async with watching() as bench:
        await bench.begin()
        await bench.pass_time(30)
        bench.trade(BTC, 11, heard=False)
        await bench.pass_time(7)
        bench.stream.down = {PAIR}
        await bench.pass_time(50)
        assert bench.tail.asked == []


async def test_one_pair_that_is_not_listed_any_more_does_not_blind_it_for_the_others() -> None:
    async with watching() as bench:
        bench.http.unlisted = {"XBTUSD", "XXBTZUSD"}
        await bench.begin()
        bench.trade(ETH, 11, heard=False)
        await bench.pass_time(60)
        assert bench.http.asked == ["/0/public/Ticker?pair=XBTUSD%2CETHUSD", "/0/public/Ticker"] * 2
        assert bench.tail.asked == ["ETH/USD"]


async def test_pairs_may_come_and_go() -> None:
    async with watching(BTC) as bench:
        await bench.begin()
        bench.instruments["ETH/USD"] = ETH
        bench.trade(ETH, 10)
        await bench.begin(60)
        bench.trade(ETH, 11, heard=False)
        bench.trade(BTC, 11, heard=False)
        del bench.instruments[PAIR]
        await bench.pass_time(60)
        assert bench.tail.asked == ["ETH/USD"]
        bench.instruments.clear()
        asked = len(bench.http.asked)
        await bench.pass_time(180)
        assert len(bench.http.asked) == asked, "without pairs nothing is asked"


async def test_a_check_without_an_answer_counts_as_failed_and_is_repeated_with_backoff() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.http.problems = [Unavailable("HTTP 520") for _ in range(30)]
        asked = len(bench.http.asked)
        await bench.pass_time(60)
        assert len(bench.http.asked) - asked == 3
        await bench.pass_time(600)
        assert len(bench.http.asked) - asked in range(10, 14)
        assert bench.value("recorder_rest_failures_total", kind="Unavailable") == len(bench.http.asked) - asked


async def test_checks_without_an_answer_do_not_count_and_delay_others_by_seconds() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.trade(ETH, 11)
        bench.http.problems = [Unavailable("HTTP 520")]
        await bench.pass_time(35)
        bench.http.problems = [Unavailable("HTTP 520"), Unavailable("HTTP 520")]
        bench.trade(ETH, 12)
        bench.trade(ETH, 13, heard=False)
        await bench.pass_time(150)
        assert bench.stream.renewed == [["ETH/USD"]]


async def test_a_pair_that_falls_silent_during_a_check_is_resubscribed_at_the_next() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.trade(ETH, 11)
        bench.http.delays = [lambda: bench.clock.sleep(100)]  # the exchange is not to be asked for so long
        await bench.pass_time(40)
        bench.trade(ETH, 12)
        await bench.pass_time(1)
        bench.trade(ETH, 13, heard=False)
        await bench.pass_time(102)
        assert bench.stream.renewed == []
        bench.trade(ETH, 14, heard=False)
        await bench.pass_time(20)
        assert bench.stream.renewed == [["ETH/USD"]], "late as it is, it is a look"


async def test_a_tail_that_is_not_to_be_had_for_minutes_keeps_no_look_waiting() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.tail.may.clear()
        bench.trade(ETH, 11)
        bench.trade(ETH, 12, heard=False)
        await bench.pass_time(60)
        bench.trade(ETH, 13, heard=False)
        await bench.pass_time(60)
        assert (bench.tail.asked, bench.stream.renewed) == (["ETH/USD"], [["ETH/USD"]])
        bench.tail.may.set()
        bench.trade(ETH, 14, heard=False)
        await bench.pass_time(120)
        assert len(bench.tail.asked) == 3


async def test_what_cannot_be_read_is_noted_and_the_rest_is_judged() -> None:
    async with watching() as bench:
        await bench.begin()
        bench.trade(ETH, 11, heard=False)
        part = b'{"XXBTZUSD":{"c":null},"XETHZUSD":{"c":["11","1"],"t":[11,11]}}'
        bench.http.bodies = [part, b"[]", part, part]
        await bench.pass_time(60)
        assert bench.tail.asked == ["ETH/USD"]
        malformed = [note for note in bench.noted() if note["kind"] == "malformed"]
        assert [note["pair"] for note in malformed] == [PAIR]
        await bench.pass_time(180)
        malformed = [note for note in bench.noted() if note["kind"] == "malformed"]
        assert ["an answer of Ticker" in note["reason"] for note in malformed] == [True], "each thing is noted once"


async def test_of_very_many_silent_pairs_some_are_fetched_and_all_resubscribed() -> None:
    many = [
        msgspec.structs.replace(BTC, pair=f"C{n}/USD", key=f"C{n}USD", altname=f"C{n}USD", wsname=f"C{n}/USD")
        for n in range(300)
    ]
    asked = list[str]()
    async with watching(*many) as bench:
        while len(asked) < len(many):
            await bench.pass_time(60)
            assert len(bench.tail.asked) <= len(asked) + FETCHES
            asked = [*bench.tail.asked]
        assert len(set(asked)) == len(many), "each is in doubt once"
        bench.tail.works = False
        for instrument in many:
            bench.trade(instrument, 11)
        await bench.pass_time(60)
        for instrument in many:
            bench.trade(instrument, 12, heard=False)
        await bench.pass_time(60)
        assert set(bench.http.asked) == {"/0/public/Ticker"}, "a list of so many would be too long"
        assert len(bench.tail.asked) == len(asked) + FETCHES
        assert len(bench.noted()) == len(many)
        await bench.pass_time(60)
        assert bench.stream.renewed == [[instrument.pair for instrument in many]]


async def test_against_the_sandbox_a_pair_nobody_streams_is_kept_up_by_the_tail() -> None:
    clock = ManualClock()
    market = Market(start_ns=clock.wall_ns(), rate=0.0001, history=60)
    async with Sandbox(market, clock=clock).serve() as sandbox, client_session() as client:
        sandbox.freeze()
        http = Http(client, sandbox.rest_url, pace=Pace(1000.0), clock=clock)
        fakes = Fakes(http, clock=clock)
        ledger, inbox = fakes.ledger, fakes.inbox
        listing = asset_pairs.parse_listing((await http.get(Request("/0/public/AssetPairs"))).result).entries
        instruments = {instrument.pair: instrument for instrument in listing}
        tail = CatchUp(ledger, fakes.context, instruments=instruments)
        stream = FakeStream()
        watch = SilentPairWatch(
            ledger, fakes.context, instruments=instruments, catch_up=tail, stream=stream, feed=stream
        )
        for pair, last in sandbox.last_ids().items():
            ledger.observe(Run(pair, Span(1, last), 1, clock.wall_ns() // 1000))
        found: list[Run] = []

        def claimed() -> bool:
            found.extend(run for inbound in inbox.take() for run in inbound.claims)
            return bool(found)

        async def pass_time_until(true: Callable[[], bool]) -> None:
            async with asyncio.timeout(30):
                while not true():
                    clock.move(0.5)
                    await asyncio.sleep(0.001)

        async with running(watch):
            await pass_time_until(lambda: len(sandbox.requests.to("/0/public/Ticker")) == 2)
            assert not claimed()
            sandbox.burst("DOGE/USD", 7)
            await pass_time_until(claimed)
            assert {run.pair for run in found} == {"DOGE/USD"}
            assert max(run.span.last for run in found) == sandbox.last_ids()["DOGE/USD"]
            assert {request.path for request in sandbox.requests} == {
                f"/0/public/{name}" for name in ("AssetPairs", "Ticker", "Trades")
            }
