from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from recorder.core.trade_ids import Span
from recorder.errors import DiskError, UsageError
from recorder.sandbox.fault_schedule import Act
from recorder.sandbox.ground_truth import read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.recordings import read_session
from recorder.sandbox.replay import listing_of, replay_files
from recorder.sandbox.server import Sandbox
from recorder.sandbox.tape import NewTrades
from tests.clocks import ManualClock

S = 10**9


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def sandbox_at(clock: ManualClock, *, rate: float = 500.0, **options: Any) -> Sandbox:
    market = Market(start_ns=clock.wall_ns(), rate=rate, history=60)
    return Sandbox(market, clock=clock, **options)


async def subscribe(socket: aiohttp.ClientWebSocketResponse, *symbols: str, snapshot: bool = False) -> None:
    """Subscribe, and read up to the last acknowledgement."""
    params = {"channel": "trade", "symbol": list(symbols), "snapshot": snapshot}
    await socket.send_json({"method": "subscribe", "params": params})
    assert (await socket.receive_json())["channel"] == "status"
    for symbol in symbols:
        assert (await socket.receive_json())["result"]["symbol"] == symbol


SERVED = """
import asyncio, sys, urllib.request
from recorder.cli.sandbox import Market, Sandbox, SystemClock, parse_act

def load(url, data=None):
    return urllib.request.urlopen(urllib.request.Request(url, data, method="GET" if data is None else "POST")).read()

def injected():
    return sorted(name for name in sys.modules if name.startswith("recorder.sandbox.fault_injection."))

async def main():
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock, script=[parse_act("60:outage")])
    async with sandbox.serve():
        for path in ("AssetPairs", "Trades?pair=XBTUSD", "OHLC?pair=XBTUSD"):
            await asyncio.to_thread(load, f"{sandbox.rest_url}/0/public/{path}")
        print(len(injected()))
        await asyncio.to_thread(load, f"{sandbox.rest_url}/sandbox/lack?pair=BTC/USD", b"")
        print(len(injected()))

asyncio.run(main())
"""


def test_a_sandbox_loads_what_tests_inject_with_the_first_such_fault() -> None:
    said = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["0", "5"]


async def ids_until(socket: aiohttp.ClientWebSocketResponse, last_id: int) -> list[int]:
    """Read trade frames up to the one with ``last_id``."""
    ids: list[int] = []
    while not ids or ids[-1] < last_id:
        frame = await socket.receive_json()
        if frame["channel"] == "trade":
            ids += [trade["trade_id"] for trade in frame["data"]]
    return ids


async def test_a_subscriber_gets_the_snapshot_and_then_every_trade_once(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "BTC/USD", snapshot=True)
        for _ in range(20):
            clock.move(0.05)
            sandbox.step()
        last_id = sandbox.last_ids()["BTC/USD"]
        assert last_id > 100
        assert await ids_until(socket, last_id) == list(range(11, last_id + 1))


async def test_a_client_gets_only_what_it_follows(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "ETH/EUR")
        sandbox.burst("BTC/USD", 10)
        sandbox.burst("ETH/EUR", 10)
        frame = await socket.receive_json()
        assert [trade["symbol"] for trade in frame["data"]] == ["ETH/EUR"] * 10


async def test_time_passes_by_itself(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "BTC/USD")
        clock.move(1.0)
        assert (await socket.receive_json())["data"][0]["trade_id"] == 61


async def test_sweeps_are_split_at_the_limit_given(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock, trades_per_frame=10).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "ETH/EUR")
        sandbox.burst("ETH/EUR", 25)
        sizes = [len((await socket.receive_json())["data"]) for _ in range(3)]
        assert sizes == [10, 10, 5]


async def test_the_truth_holds_history_and_live_trades_before_any_client_does(
    clock: ManualClock, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "truth.jsonl"
    async with sandbox_at(clock, truth=path).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        assert {pair: len(trades) for pair, trades in read_truth(path).items()} == dict.fromkeys(sandbox.last_ids(), 60)
        await subscribe(socket, "BTC/USD")
        for _ in range(5):
            clock.move(0.5)
            sandbox.step()
            last_id = (await ids_until(socket, sandbox.last_ids()["BTC/USD"]))[-1]
            assert list(read_truth(path)["BTC/USD"]) == list(range(1, last_id + 1))
        last_ids = sandbox.last_ids()
    assert {pair: max(trades) for pair, trades in read_truth(path).items()} == last_ids


async def test_rest_answers_with_what_the_socket_has_sent(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "BTC/USD")
        sandbox.burst("BTC/USD", 5)
        live = (await socket.receive_json())["data"]
        async with http.get(f"{sandbox.rest_url}/0/public/Trades", params={"pair": "XBTUSD", "count": "5"}) as answer:
            assert answer.content_type == "application/json"
            rows = (await answer.json())["result"]["XXBTZUSD"]
        assert [row[6] for row in rows] == [trade["trade_id"] for trade in live]
        assert [float(row[0]) for row in rows] == [trade["price"] for trade in live]


@pytest.mark.parametrize("path", ["/0/public/Nope", "/0/private/Balance", "/0/nothing/at/all"])
async def test_an_unknown_method_is_told_with_status_200(
    clock: ManualClock, http: aiohttp.ClientSession, path: str
) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.get(sandbox.rest_url + path) as answer:
        assert (answer.status, await answer.json()) == (200, {"error": ["EGeneral:Unknown method"]})


async def test_a_disconnect_is_abrupt_and_what_was_missed_is_in_the_next_snapshot(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox:
        async with http.ws_connect(sandbox.ws_url) as socket:
            await subscribe(socket, "BTC/USD")
            sandbox.faults.disconnect()
            message = await socket.receive()
            assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
            assert socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
        sandbox.burst("BTC/USD", 7)
        async with http.ws_connect(sandbox.ws_url) as socket:
            await subscribe(socket, "BTC/USD", snapshot=True)
            assert await ids_until(socket, 67) == list(range(18, 68))


async def test_refusing_answers_503_to_rest_and_handshakes_and_keeps_sockets(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "BTC/USD")
        sandbox.faults.refuse(5.0)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(sandbox.ws_url)
        assert refused.value.status == 503
        async with http.get(f"{sandbox.rest_url}/0/public/Time") as answer:
            assert (answer.status, answer.content_type) == (503, "text/html")
        sandbox.burst("BTC/USD", 1)
        assert (await socket.receive_json())["channel"] == "trade"
        clock.move(5.1)
        async with http.get(f"{sandbox.rest_url}/0/public/Time") as answer:
            assert answer.status == 200
        assert [(request.path, request.status) for request in sandbox.requests] == [
            ("/v2", 101),
            ("/v2", 503),
            ("/0/public/Time", 503),
            ("/0/public/Time", 200),
        ]


async def test_a_script_throws_faults_as_time_passes(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    sandbox = sandbox_at(clock, script=[Act(2.0, "outage", 3.0)])
    async with sandbox.serve(), http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "MINA/GBP")
        clock.move(2.0)
        message = await socket.receive()
        while message.type is aiohttp.WSMsgType.TEXT:
            message = await socket.receive()
        assert message.type is not aiohttp.WSMsgType.CLOSE
        assert sandbox.faults.refusing
        clock.move(3.0)
        assert not sandbox.faults.refusing


async def test_requests_are_logged_with_their_query_and_both_times(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox:
        began_ns = clock.wall_ns()
        clock.move(1.5)
        url = URL(f"{sandbox.rest_url}/0/public/Trades?pair=BTC%2FUSD&since=0", encoded=True)
        async with http.get(url) as answer:
            assert answer.status == 200
        (request,) = sandbox.requests.to("/0/public/Trades")
        assert (request.method, request.query, request.status) == ("GET", "pair=BTC%2FUSD&since=0", 200)
        assert request.at_s == pytest.approx(1.5)
        assert request.time_ns == began_ns + 1_500_000_000


async def test_a_frozen_market_stands_still_and_goes_on_where_it_stopped(clock: ManualClock) -> None:
    async with sandbox_at(clock).serve() as sandbox:
        sandbox.freeze()
        still = dict(sandbox.last_ids())
        clock.move(60.0)
        sandbox.step()
        assert sandbox.last_ids() == still
        sandbox.thaw()
        clock.move(1.0)
        sandbox.step()
        assert 50 < sum(sandbox.last_ids().values()) - sum(still.values()) < 2500


async def test_a_burst_beyond_reason_is_refused(clock: ManualClock) -> None:
    async with sandbox_at(clock).serve() as sandbox:
        with pytest.raises(UsageError, match="lists no pair 'XBTUSD'; it lists BTC/USD"):
            sandbox.burst("XBTUSD", 5)
        for n in (0, -1, 10**9):
            with pytest.raises(UsageError, match="must be from 1 to 100000"):
                sandbox.burst("BTC/USD", n)


async def test_connection_ids_are_beyond_what_a_double_can_hold(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        (status,) = (await socket.receive_json())["data"]
        assert 2**63 <= status["connection_id"] < 2**64


async def test_an_address_in_use_is_refused_with_a_sentence(clock: ManualClock) -> None:
    async with sandbox_at(clock).serve() as sandbox:
        port = int(sandbox.rest_url.rpartition(":")[2])
        with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1 port {port}"):
            async with sandbox_at(clock).serve(port=port):
                pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
async def test_a_truth_that_cannot_be_written_stops_the_exchange_from_the_start(clock: ManualClock) -> None:
    with pytest.raises(DiskError, match="cannot write the truth file"):
        async with sandbox_at(clock, truth=Path("/dev/full")).serve():
            pass


async def test_an_error_inside_the_loop_cuts_the_clients_and_is_raised(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    class Broken(Market):
        def advance(self, now_ns: int) -> list[NewTrades]:
            raise ArithmeticError(f"at {now_ns}")

    sandbox = Sandbox(Broken(start_ns=clock.wall_ns()), clock=clock)

    async def use() -> None:
        async with sandbox.serve():
            with pytest.raises(ArithmeticError):
                await sandbox.broken()
            async with http.get(f"{sandbox.rest_url}/0/public/Time") as answer:
                assert answer.status == 503

    with pytest.raises(ArithmeticError, match="at 17834"):
        await use()


async def test_an_error_of_the_user_passes_through_as_it_is(clock: ManualClock) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with sandbox_at(clock).serve():
            raise LookupError("mine")


async def test_the_real_session_reaches_its_subscriber_frame_by_frame(
    clock: ManualClock, http: aiohttp.ClientSession, payloads: Path, tmp_path: Path
) -> None:
    path = payloads / "ws_v2/mixed/live_book10_trade_BTC-USD_ETH-USD_2026-07-07.jsonl"
    session = read_session(path.read_text().splitlines(), replay_files().listing)
    sandbox = Sandbox(replay_files(sessions=[path], speed=0), clock=clock, truth=tmp_path / "truth.jsonl")
    async with sandbox.serve(), http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "BTC/USD", "ETH/USD", snapshot=True)
        assert [(await socket.receive_json())["data"] for _ in range(2)] == [[], []]
        sandbox.step()
        received = [await socket.receive_str() for _ in session.frames]
        assert received == [frame.text for frame in session.frames]
    truth = read_truth(tmp_path / "truth.jsonl")
    lines = [json.loads(line, parse_float=str) for line in received]
    told = [trade for line in lines if line["channel"] == "trade" for trade in line["data"]]
    assert {(pair, row.trade_id) for pair, rows in truth.items() for row in rows.values()} == {
        (trade["symbol"], trade["trade_id"]) for trade in told
    }
    assert truth["BTC/USD"][103436769].price == "63501.6"
    assert sandbox.market.tapes["ETH/USD"].span == Span(64175815, 64175819)


async def rest(http: aiohttp.ClientSession, sandbox: Sandbox, path: str) -> Any:
    async with http.get(sandbox.rest_url + path) as answer:
        return json.loads(await answer.text())


async def test_a_change_of_state_is_pushed_to_everyone_connected_once(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        greeting = (await socket.receive_json())["data"][0]
        sandbox.status.climb(5.0)
        seen = []
        for _ in range(4):
            for _ in range(3):
                sandbox.step()
            frame = await socket.receive_json()
            seen.append(frame["data"][0])
            clock.move(5.0)
        assert [one["system"] for one in seen] == ["maintenance", "cancel_only", "post_only", "online"]
        assert {one["connection_id"] for one in seen} == {greeting["connection_id"]}
        sandbox.status.declare_emergency()
        sandbox.step()
        assert len((await socket.receive_json())["data"][0]["emergency"]) == 1


async def test_a_committed_candle_never_changes_by_itself(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock, rate=50.0).serve() as sandbox:
        committed: dict[int, Any] = {}
        for _ in range(120):
            clock.move(7.3)
            result = (await rest(http, sandbox, "/0/public/OHLC?pair=XBTUSD"))["result"]
            for row in result["XXBTZUSD"]:
                if row[0] <= result["last"]:
                    assert committed.setdefault(row[0], row) == row
        assert len(committed) > 10
        made = sum(row[7] for row in result["XXBTZUSD"])
        assert made == sandbox.last_ids()["BTC/USD"]


async def test_a_revised_candle_changes_once(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock).serve() as sandbox:
        clock.move(200.0)
        path = "/0/public/OHLC?pair=XBTUSD&interval=1"
        before = (await rest(http, sandbox, path))["result"]
        start_s = sandbox.revise("BTC/USD", 1)
        after = (await rest(http, sandbox, path))["result"]
        changed = [(old, new) for old, new in zip(before["XXBTZUSD"], after["XXBTZUSD"], strict=True) if old != new]
        assert [(old[0], new[0], new[7] - old[7]) for old, new in changed] == [(start_s, start_s, 1)]
        assert start_s == before["last"]
        assert await rest(http, sandbox, path) == {"error": [], "result": after}
        with pytest.raises(
            UsageError, match=f"no committed candle of 1 minutes starts at {start_s + 60}; try {start_s}"
        ):
            sandbox.revise("BTC/USD", 1, start_s + 60)


async def test_changes_of_the_listing_are_seen_on_both_protocols(
    clock: ManualClock, http: aiohttp.ClientSession
) -> None:
    async with sandbox_at(clock).serve() as sandbox, http.ws_connect(sandbox.ws_url) as socket:
        await subscribe(socket, "MINA/GBP")
        sandbox.enlist(pair_of("NEW/USD", pair_decimals=3, lot_decimals=5))
        sandbox.delist("SHIB/USD")
        request = {"method": "subscribe", "params": {"channel": "trade", "symbol": ["SHIB/USD", "NEW/USD"]}}
        await socket.send_json(request)
        assert (await socket.receive_json())["error"] == "Currency pair not supported SHIB/USD"
        assert (await socket.receive_json())["success"] is True
        sandbox.burst("NEW/USD", 2)
        assert [trade["trade_id"] for trade in (await socket.receive_json())["data"]] == [1, 2]
        for method in ("Trades", "OHLC", "Ticker", "AssetPairs"):
            refused = await rest(http, sandbox, f"/0/public/{method}?pair=SHIBUSD")
            assert refused == {"error": ["EQuery:Unknown asset pair"]}
            assert "NEWUSD" in (await rest(http, sandbox, f"/0/public/{method}?pair=NEWUSD"))["result"]
        with pytest.raises(UsageError, match="lists no pair 'SHIB/USD'"):
            sandbox.burst("SHIB/USD", 1)


async def test_a_renamed_pair_goes_on_and_the_truth_has_it_under_both_names(
    clock: ManualClock, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "truth.jsonl"
    async with sandbox_at(clock, truth=path).serve() as sandbox:
        sandbox.relist("DOGE/USD", wsname="SHIBE/USD", altname="SHIBEUSD")
        sandbox.burst("SHIBE/USD", 3)
        result = (await rest(http, sandbox, "/0/public/Trades?pair=SHIBEUSD&since=0"))["result"]
        assert [row[6] for row in result["XDGUSD"]] == list(range(1, 64))
        assert await rest(http, sandbox, "/0/public/Trades?pair=DOGE/USD") == {"error": ["EQuery:Unknown asset pair"]}
    truth = read_truth(path)
    assert (max(truth["DOGE/USD"]), list(truth["SHIBE/USD"])) == (60, list(range(1, 64)))


async def test_a_finer_tick_leaves_the_truth_and_the_rows_the_numbers_they_were(
    clock: ManualClock, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "truth.jsonl"
    async with sandbox_at(clock, truth=path).serve() as sandbox:
        sandbox.relist("BTC/USD", pair_decimals=3)
        sandbox.burst("BTC/USD", 50)
        rows = (await rest(http, sandbox, "/0/public/Trades?pair=XBTUSD&since=0"))["result"]["XXBTZUSD"]
    truth = read_truth(path)["BTC/USD"]
    assert [Decimal(row[0]) for row in rows] == [Decimal(trade.price) for trade in truth.values()]
    assert len(rows) == 110


async def test_the_real_listing_of_1218_pairs_is_served_and_some_of_it_trades(
    clock: ManualClock, http: aiohttp.ClientSession, payloads: Path
) -> None:
    path = payloads / "rest/AssetPairs/full_1218pairs_2025-09-11.json"
    market = Market(start_ns=clock.wall_ns(), listed=listing_of(path), history=3)
    async with Sandbox(market, clock=clock).serve() as sandbox:
        assert await rest(http, sandbox, "/0/public/AssetPairs") == json.loads(path.read_text())
        assert len((await rest(http, sandbox, "/0/public/Ticker"))["result"]) == 1218
        assert set(sandbox.last_ids().values()) == {3}
        assert len(sandbox.last_ids()) == 6


async def test_answers_are_dated_by_the_sandbox_s_own_clock(clock: ManualClock, http: aiohttp.ClientSession) -> None:
    async with sandbox_at(clock).serve() as exchange, http.get(f"{exchange.rest_url}/0/public/Time") as answer:
        assert answer.headers["Date"] == "Tue, 07 Jul 2026 23:00:05 GMT"
