from __future__ import annotations

import json
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest

from recorder.core.trade_ids import Span
from recorder.sandbox import wire_format
from recorder.sandbox.fault_schedule import NAMES
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from recorder.sandbox.websocket_faults import Stall
from tests.clocks import ManualClock


@pytest.fixture
async def sandbox(clock: ManualClock) -> AsyncIterator[Sandbox]:
    market = Market(start_ns=clock.wall_ns(), rate=0.001, history={"BTC/USD": 5, "DOGE/USD": 2})
    async with Sandbox(market, clock=clock).serve() as serving:
        yield serving


async def test_the_truth_is_the_last_id_by_pair(http: aiohttp.ClientSession) -> None:
    async with http.get("/sandbox/truth") as answer:
        assert await answer.json() == {"BTC/USD": 5, "DOGE/USD": 2}


async def test_every_fault_can_be_thrown_from_outside(http: aiohttp.ClientSession) -> None:
    answers = {name: (await http.post(f"/sandbox/{name}?for_s=1.5")).status for name in NAMES}
    assert answers == dict.fromkeys(NAMES, 200)


async def test_refusing_ends_with_its_time_or_by_a_release_over_http(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    await (await http.post("/sandbox/refuse?for_s=4")).read()
    clock.move(3.9)
    assert sandbox.faults.refusing
    clock.move(0.2)
    assert not sandbox.faults.refusing
    await (await http.post("/sandbox/refuse")).read()
    clock.move(1e6)
    assert sandbox.faults.refusing
    await (await http.post("/sandbox/release")).read()
    assert not sandbox.faults.refusing


async def test_a_burst_is_answered_with_the_new_last_ids(http: aiohttp.ClientSession) -> None:
    async with http.post("/sandbox/burst", params={"pair": "BTC/USD", "n": "1000"}) as answer:
        assert await answer.json() == {"BTC/USD": 1005, "DOGE/USD": 2}


async def test_the_market_can_be_frozen_and_thawed(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    await (await http.post("/sandbox/freeze")).read()
    clock.move(1e7)
    sandbox.step()
    assert sandbox.last_ids() == {"BTC/USD": 5, "DOGE/USD": 2}
    await (await http.post("/sandbox/thaw")).read()
    clock.move(1e5)
    sandbox.step()
    assert 6 < sum(sandbox.last_ids().values()) < 1000


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/sandbox/refuse?for_s=long", "for_s must be a number, like /sandbox/refuse?for_s=5"),
        ("/sandbox/burst?pair=BTC/USD", "n must be a number"),
        ("/sandbox/burst?pair=XBTUSD&n=5", "lists no pair 'XBTUSD'"),
        ("/sandbox/burst?pair=BTC/USD&n=inf", "n must be a number"),
        ("/sandbox/burst?pair=BTC/USD&n=0", "must be from 1 to"),
        ("/sandbox/sever?pair=BTC/USD", "no connection follows 'BTC/USD'"),
        ("/sandbox/deaden?pair=BTC/USD", "no connection follows 'BTC/USD'"),
    ],
)
async def test_a_wrong_request_is_told_what_would_be_right(
    http: aiohttp.ClientSession, target: str, sentence: str
) -> None:
    async with http.post(target) as answer:
        assert answer.status == 400
        assert sentence in await answer.text()


async def test_control_is_not_part_of_the_log(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await (await http.get("/sandbox/truth")).read()
    assert len(sandbox.requests) == 0


async def told(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        return json.loads(await answer.text())


async def post(http: aiohttp.ClientSession, path: str) -> None:
    async with http.post(path) as answer:
        assert answer.status == 200, await answer.text()


async def test_the_state_can_be_set_and_events_announced(http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/status?system=post_only")
    await post(http, "/sandbox/plan_maintenance?in_s=60&for_s=60")
    await post(http, "/sandbox/emergency")
    result = (await told(http, "/0/public/SystemStatus"))["result"]
    assert (result["status"], len(result["upcoming_maintenance"]), len(result["emergency"])) == ("post_only", 1, 1)
    await post(http, "/sandbox/all_clear")
    await post(http, "/sandbox/online")
    result = (await told(http, "/0/public/SystemStatus"))["result"]
    assert (result["status"], result["upcoming_maintenance"], result["emergency"]) == ("online", [], [])


async def test_a_mishap_can_be_for_some_requests_to_one_path(http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/internal_error?n=1&path=/0/public/Time")
    assert (await told(http, "/0/public/SystemStatus"))["error"] == []
    assert (await told(http, "/0/public/Time"))["error"] == ["EGeneral:Internal error"]
    assert (await told(http, "/0/public/Time"))["error"] == []


async def test_rest_can_be_throttled_and_released(http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/throttle?size=1&per_s=1&sticky=1&form=rate_limit")
    await told(http, "/0/public/Time")
    assert (await told(http, "/0/public/Time"))["error"] == ["EAPI:Rate limit exceeded"]
    await post(http, "/sandbox/unthrottle")
    assert (await told(http, "/0/public/Time"))["error"] == []


@pytest.mark.parametrize(
    ("query", "stall"),
    [
        ("", Stall(ping_frames=True, ping_messages=True)),
        ("?ping_frames=0", Stall(ping_frames=False, ping_messages=True)),
        ("?ping_messages=0", Stall(ping_frames=True, ping_messages=False)),
        ("?ping_frames=0&ping_messages=0", Stall(ping_frames=False, ping_messages=False)),
    ],
)
async def test_a_stall_can_be_told_which_pings_it_answers(
    sandbox: Sandbox, http: aiohttp.ClientSession, query: str, stall: Stall
) -> None:
    await post(http, f"/sandbox/stall{query}")
    assert sandbox.faults.lines.stalls == [stall]


async def test_the_connections_of_one_pair_can_be_told_which_pings_they_answer(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(sandbox.ws_url) as socket:
        await socket.send_json({"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}})
        while "result" not in await socket.receive_json():
            pass
        await post(http, "/sandbox/deaden?pair=BTC/USD&ping_messages=0")
        (dead,) = sandbox.clients.following("BTC/USD")
        assert dead.stall == Stall(ping_frames=True, ping_messages=False)


async def test_the_listing_can_be_changed(http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/enlist?pair=NEW/USD&pair_decimals=3&trades_per_s=5&ordermin=9")
    await post(http, "/sandbox/relist?pair=BTC/USD&pair_decimals=2&status=cancel_only")
    await post(http, "/sandbox/delist?pair=DOGE/USD")
    listed = (await told(http, "/0/public/AssetPairs"))["result"]
    assert (listed["NEWUSD"]["pair_decimals"], listed["NEWUSD"]["ordermin"]) == (3, "9")
    bitcoin = listed["XXBTZUSD"]
    assert (bitcoin["pair_decimals"], bitcoin["tick_size"], bitcoin["status"]) == (2, "0.01", "cancel_only")
    assert "XDGUSD" not in listed


async def test_subscriptions_can_be_refused_limited_and_granted_again(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    entry = sandbox.faults.entry
    await post(http, "/sandbox/refuse_subscriptions?text=Try%20later&pair=BTC/USD&for_s=9")
    await post(http, "/sandbox/limit_subscriptions?symbols=50")
    assert (entry.symbol("BTC/USD"), entry.symbol("ETH/EUR"), entry.limit.symbols) == ("Try later", None, 50)
    await post(http, "/sandbox/grant_subscriptions")
    await post(http, "/sandbox/refuse_subscriptions?named=0")
    assert (entry.symbol("BTC/USD"), entry.message(["BTC/USD"])) == (None, "EGeneral:Too many requests")


async def test_a_page_can_say_when_to_come_again_and_where_to_go(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/http_429?retry_after=600&path=/v2&n=1")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect("/v2")
    assert refused.value.status == 429
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "600"
    async with http.ws_connect("/v2"):
        assert [request.status for request in sandbox.requests.to("/v2")] == [429, 101]
    await post(http, "/sandbox/http_302?location=/elsewhere&retry_after=60&date=1&path=/0/public/Time")
    async with http.get("/0/public/Time", allow_redirects=False) as answer:
        until = formatdate(sandbox.clock.wall_ns() // 10**9 + 60, usegmt=True)
        assert (answer.status, answer.headers["Location"], answer.headers["Retry-After"]) == (302, "/elsewhere", until)


async def test_a_pair_can_be_rejected_and_accepted(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/reject?pair=BTC/USD")
    assert sandbox.faults.rejected == {"BTC/USD"}
    await post(http, "/sandbox/accept?pair=BTC/USD")
    assert sandbox.faults.rejected == set()


async def test_the_newest_committed_candle_can_be_revised(http: aiohttp.ClientSession, clock: ManualClock) -> None:
    await post(http, "/sandbox/freeze")
    clock.move(300.0)
    before = (await told(http, "/0/public/OHLC?pair=XBTUSD"))["result"]
    await post(http, "/sandbox/revise?pair=BTC/USD&interval=1")
    after = (await told(http, "/0/public/OHLC?pair=XBTUSD"))["result"]
    changed = [row for row, old in zip(after["XXBTZUSD"], before["XXBTZUSD"], strict=True) if row != old]
    assert [(row[0], row[6], row[7]) for row in changed] == [(before["last"], "0.00000001", 1)]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/sandbox/status", "there is no status ''; there are online"),
        ("/sandbox/busy?n=0", "must be for 1 or more"),
        ("/sandbox/outage?n=2", "outage is for a time and for everything"),
        ("/sandbox/throttle?form=shout", "no form of refusal 'shout'"),
        ("/sandbox/enlist?pair=NEWUSD", "pair must be a v2 symbol, like NEW/USD"),
        ("/sandbox/enlist?pair=BTC/USD", "BTC/USD is listed already"),
        ("/sandbox/relist?pair=NEW/USD&status=online", "lists no pair 'NEW/USD'; it lists BTC/USD"),
        ("/sandbox/relist?pair=BTC/USD&pair_decimals=many", "pair_decimals must be a number"),
        ("/sandbox/delist?pair=NEW/USD", "lists no pair 'NEW/USD'"),
        ("/sandbox/revise?pair=BTC/USD&interval=7", "there are no candles of 'BTC/USD' with 7 minutes"),
        ("/sandbox/revise?pair=BTC/USD&interval=1&start=30", "no committed candle of 1 minutes starts at 30"),
    ],
)
async def test_what_cannot_be_done_is_told_what_would_be_right(
    http: aiohttp.ClientSession, target: str, sentence: str
) -> None:
    async with http.post(target) as answer:
        assert (answer.status, sentence in await answer.text()) == (400, True), await answer.text()


async def test_pairs_can_be_muted_frames_damaged_and_ids_skipped(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    await post(http, "/sandbox/mute?pair=BTC/USD")
    assert sandbox.faults.lines.silent(["BTC/USD"])
    await post(http, "/sandbox/unmute?pair=BTC/USD")
    assert not sandbox.faults.lines.silent(["BTC/USD"])
    await post(http, "/sandbox/drop?n=1")
    assert [sandbox.faults.lines.strike() for _ in range(2)] == [{"drop"}, set()]
    await post(http, "/sandbox/skip_ids?pair=BTC/USD&n=4")
    async with http.post("/sandbox/burst?pair=BTC/USD&n=1") as answer:
        assert (await answer.json())["BTC/USD"] == 10
    for wrong in ("pair=BTC/USD&n=0", "pair=ETH/EUR&n=1", "pair=NO/PE&n=1"):
        async with http.post(f"/sandbox/skip_ids?{wrong}") as answer:
            assert answer.status == 400


async def test_what_is_odd_in_good_answers_is_asked_for_from_outside(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    for door in (
        "spoil?pair=BTC/USD&field=tick_size&value=null",
        "lack?pair=ETH/EUR&n=1",
        "double?pair=DOGE/USD&key=XDGUSD.B&status=delisted",
        "beside?name=count&value=5",
        "nulls?on=1",
        "say?text=anything",
        "enlist?pair=AAPLx/USD&aclass_base=tokenized_asset",
    ):
        assert (await http.post(f"/sandbox/{door}")).status == 200, door
    async with http.get("/0/public/AssetPairs") as answer:
        listed = (await answer.json())["result"]
    assert listed["XXBTZUSD"]["tick_size"] is None
    assert "XETHZEUR" not in listed
    assert listed["XDGUSD.B"]["status"] == "delisted"
    assert "AAPLxUSD" not in listed
    async with http.get("/0/public/Trades?pair=XBTUSD") as answer:
        assert (await answer.json())["result"]["count"] == 5
    assert sandbox.status.nulls
    assert (await http.post("/sandbox/lack?pair=BTC/USD&n=0")).status == 400


async def test_a_pair_can_be_counted_from_1_again(http: aiohttp.ClientSession) -> None:
    async with http.post("/sandbox/renumber?pair=BTC/USD") as answer:
        assert "BTC/USD" not in await answer.json()
    async with http.post("/sandbox/burst?pair=BTC/USD&n=3") as answer:
        assert (await answer.json())["BTC/USD"] == 3
    async with http.get("/0/public/Trades?pair=XBTUSD&since=0") as answer:
        assert [row[-1] for row in (await answer.json())["result"]["XXBTZUSD"]] == [1, 2, 3]
    assert (await http.post("/sandbox/renumber?pair=NO/NE")).status == 400


@pytest.mark.parametrize(
    ("time_s", "year"), [(4_176_528_432, "2102"), (0, "1970"), (-62_135_596_800, "0001"), (253_402_300_799, "9999")]
)
async def test_trades_can_be_stamped_oddly_whichever_way_they_are_told(
    sandbox: Sandbox, http: aiohttp.ClientSession, time_s: int, year: str
) -> None:
    await post(http, f"/sandbox/stamp?pair=BTC/USD&n=2&time_s={time_s}")
    sandbox.burst("BTC/USD", 3)
    tape = sandbox.market.tapes["BTC/USD"]
    rows = list(tape.rows(Span(tape.last_id - 2, tape.last_id)))
    assert [row[1] == time_s * 1_000_000_000 for row in rows] == [True, True, False]
    assert f'"timestamp":"{year}-' in wire_format.snapshot_frame(tape, 2)
    async with http.get("/0/public/Trades?pair=XBTUSD&count=3") as answer:
        told = (await answer.json())["result"]["XXBTZUSD"]
    assert [row[2] == time_s for row in told[-3:]] == [True, True, False]


async def test_a_stray_id_is_told_to_subscribers_alone(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    last = sandbox.last_ids()["BTC/USD"]
    async with http.ws_connect("/v2") as line:
        await line.send_json({"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}})
        while json.loads((await line.receive()).data).get("method") != "subscribe":
            pass
        await post(http, f"/sandbox/stray?pair=BTC/USD&id={2**40}")
        while (frame := json.loads((await line.receive()).data)).get("channel") != "trade":
            pass
    assert [row["trade_id"] for row in frame["data"]] == [2**40]
    assert sandbox.last_ids()["BTC/USD"] == last
    for wrong in ("stray?pair=BTC/USD&id=1", "stray?pair=BTC/USD&id=x", "stray?pair=NO/PE&id=5", "stray?pair=BTC/USD"):
        async with http.post(f"/sandbox/{wrong}") as answer:
            assert answer.status == 400
    for wrong in ("n=0&time_s=5", "n=1&time_s=999999999999", "n=1"):
        async with http.post(f"/sandbox/stamp?pair=BTC/USD&{wrong}") as answer:
            assert answer.status == 400
    async with http.post("/sandbox/stamp?pair=NO/PE&n=1&time_s=5") as answer:
        assert answer.status == 400
