"""The ticker channel: what makes a frame, what is in it, and that it is the book that REST shows."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from recorder.sandbox import book
from recorder.sandbox.channels import ticker
from recorder.sandbox.market import Market
from recorder.sandbox.rest import Rest
from recorder.sandbox.server import Sandbox
from recorder.sandbox.ticker_feed import TickerFeed
from recorder.sandbox.websocket import Connection
from tests.clocks import ManualClock, settle

BTC = "BTC/USD"
START_NS = 1_762_776_000 * 10**9


class Moment:
    """The time of the market."""

    def __init__(self) -> None:
        self.ns = START_NS

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def market() -> Market:
    return Market(start_ns=START_NS, rate=0, history=100)


def row(text: str) -> dict[str, Any]:
    (one,) = json.loads(text, parse_float=Decimal)["data"]
    return dict(one)


def test_a_frame_has_the_fields_of_a_real_one_in_their_order_and_its_digits(
    market: Market, moment: Moment, payloads: Path
) -> None:
    real = (payloads / "ws_v2/ticker/live_BTC-USD_2026-09-25.jsonl").read_text()
    ours = TickerFeed(moment).snapshot(market.tapes[BTC])
    assert list(json.loads(ours)) == list(json.loads(real))
    assert list(row(ours)) == list(row(real))
    for name, value in row(real).items():
        if isinstance(value, Decimal):
            assert row(ours)[name].as_tuple().exponent == value.as_tuple().exponent, name


def test_the_book_moves_between_trades_at_the_same_moments_for_everyone(market: Market, moment: Moment) -> None:
    tape, feed = market.tapes[BTC], TickerFeed(moment)
    assert list(feed.moved([tape])) == []
    seen: list[str] = []
    for _ in range(400):
        moment.ns += 20_000_000
        seen += [text for _, text in feed.moved([tape])]
    assert 28 <= len(seen) <= 32
    for text in seen:
        told = row(text)
        assert told["bid"] < told["ask"]
        assert told["last"] == Decimal(tape.prices[-1]).scaleb(-tape.price_digits)
    other = TickerFeed(moment)
    moment.ns = START_NS
    list(other.moved([tape]))
    moment.ns += 400 * 20_000_000
    assert [text for _, text in other.moved([tape])] == seen


def test_it_shows_the_best_levels_that_rest_shows(market: Market, moment: Moment) -> None:
    rest, feed = Rest(market), TickerFeed(moment)
    for _ in range(5):
        moment.ns += 700_000_000
        told = row(feed.snapshot(market.tapes[BTC]))
        shown = json.loads(rest.answer("Ticker", {"pair": BTC}, now_ns=moment.ns))["result"][BTC]
        depth = json.loads(rest.answer("Depth", {"pair": BTC, "count": "1"}, now_ns=moment.ns))["result"][BTC]
        assert (told["bid"], told["ask"]) == (Decimal(shown["b"][0]), Decimal(shown["a"][0]))
        assert (told["bid"], told["ask"]) == (Decimal(depth["bids"][0][0]), Decimal(depth["asks"][0][0]))
        assert int(told["bid_qty"] * 1000) == int(Decimal(depth["bids"][0][1]) * 1000)
        assert told["volume"] == Decimal(shown["v"][1])


def test_a_pair_that_never_traded_has_zeros_for_prices(moment: Moment) -> None:
    tape = Market(start_ns=START_NS, rate=0, history=0).tapes[BTC]
    told = row(TickerFeed(moment).snapshot(tape))
    assert (told["bid"], told["bid_qty"], told["last"], told["trades"]) == (0, 0, 0, 0)
    assert list(book.changes(tape, (0, 0), START_NS)) == []


@pytest.fixture
def connection(market: Market, moment: Moment) -> Connection:
    return Connection(market, connection_id=1, channels=(ticker(TickerFeed(moment)),))


def ask(connection: Connection, **params: object) -> list[dict[str, Any]]:
    text = json.dumps({"method": "subscribe", "params": {"channel": "ticker", "symbol": [BTC], **params}})
    return [json.loads(frame) for frame in connection.receive(text, now_ns=START_NS)]


def test_a_subscription_names_its_trigger_and_begins_with_a_snapshot_unless_it_wants_none(
    connection: Connection,
) -> None:
    acknowledged, snapshot = ask(connection)
    assert acknowledged["result"] == {"channel": "ticker", "event_trigger": "trades", "snapshot": True, "symbol": BTC}
    assert snapshot["type"] == "snapshot"
    (refused,) = ask(connection, event_trigger="whim")
    assert refused["success"] is False
    (twice,) = ask(connection, event_trigger="bbo", snapshot=False)
    assert twice["error"] == "Already subscribed"


async def test_each_trigger_brings_its_frames_and_what_was_sent_is_recorded_behind_all_faults(
    clock: ManualClock,
) -> None:
    market = Market(start_ns=clock.wall_ns(), rate=0, history=5)
    async with (
        Sandbox(market, clock=clock).serve() as sandbox,
        aiohttp.ClientSession() as http,
        http.ws_connect(sandbox.ws_url) as quiet,
        http.ws_connect(sandbox.ws_url) as busy,
    ):
        async with http.post(f"{sandbox.rest_url}/sandbox/record_sent") as answer:
            assert answer.status == 200
        for socket, trigger in ((quiet, "trades"), (busy, "bbo")):
            await socket.send_json(
                {"method": "subscribe", "params": {"channel": "ticker", "symbol": [BTC], "event_trigger": trigger}}
            )
        await settle()
        sandbox.step()
        for _ in range(4):
            clock.move(0.25)
            sandbox.step()
        sandbox.faults.throw("drop", n=1)
        clock.move(0.25)
        sandbox.step()
        async with http.post(f"{sandbox.rest_url}/sandbox/odd_quote?pair=BTC/USD&field=bid&value=null") as answer:
            assert answer.status == 200
        clock.move(0.25)
        sandbox.step()
        sandbox.burst(BTC, 3)
        await settle()
        async with http.get(f"{sandbox.rest_url}/sandbox/sent") as answer:
            sent = await answer.json()
        kinds = sorted([json.loads(text)["type"] for text in texts] for texts in sent.values())
        assert kinds == [["snapshot", "update"], ["snapshot", *["update"] * 6]]
        (of_bbo,) = (texts for texts in sent.values() if len(texts) == 7)
        assert ['"bid":null' in text for text in of_bbo] == [False] * 5 + [True, False]


async def test_late_answers_wait_until_the_fault_ends_while_live_frames_go_on(clock: ManualClock) -> None:
    market = Market(start_ns=clock.wall_ns(), rate=0, history=5)
    async with (
        Sandbox(market, clock=clock).serve() as sandbox,
        aiohttp.ClientSession() as http,
        http.ws_connect(sandbox.ws_url) as socket,
    ):
        sandbox.faults.throw("late", 2.0)
        params = {"channel": "ticker", "symbol": [BTC], "event_trigger": "bbo"}
        await socket.send_json({"method": "subscribe", "params": params})
        await settle()
        for _ in range(9):
            clock.move(0.25)
            sandbox.step()
        heard = [await socket.receive_json() for _ in range(11)]
        told = [one.get("method") or f"{one['channel']} {one.get('type')}" for one in heard]
        assert told[0] == "status update"
        assert told.index("subscribe") == told.index("ticker snapshot") - 1
        assert told.index("ticker update") < told.index("subscribe")
