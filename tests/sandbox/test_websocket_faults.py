from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from recorder.errors import UsageError
from recorder.sandbox.fault_schedule import Faults, parse_act
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from recorder.sandbox.websocket_faults import FRAMES, LINES, Stall, WebSocketFaults
from tests.clocks import ManualClock

BEAT = '{"channel":"heartbeat"}'


def subscribe(pair: str) -> dict[str, object]:
    return {"method": "subscribe", "params": {"channel": "trade", "symbol": [pair], "snapshot": True}}


@pytest.fixture
async def sandbox(clock: ManualClock) -> AsyncIterator[Sandbox]:
    market = Market(start_ns=clock.wall_ns(), rate=0, history=2)
    async with Sandbox(market, clock=clock, trades_per_frame=1).serve() as serving:
        yield serving


Dial = Callable[[], Awaitable[aiohttp.ClientWebSocketResponse]]


@pytest.fixture
async def dial(sandbox: Sandbox) -> AsyncIterator[Dial]:
    """Opens connections, on which pongs are heard like any frame; all are closed in the end."""
    async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as opened:
        yield lambda: opened.enter_async_context(http.ws_connect(sandbox.ws_url, autoping=False))


async def follow(dial: Dial, sandbox: Sandbox, pair: str = "BTC/USD") -> aiohttp.ClientWebSocketResponse:
    """Subscribe to a pair, and read up to its snapshot."""
    socket = await dial()
    await socket.send_json(subscribe(pair))
    assert (await socket.receive_json())["channel"] == "status"
    assert (await socket.receive_json())["success"] is True
    assert ids(await socket.receive_str()) == [1, 2]
    sandbox.step()
    return socket


def ids(frame: str) -> list[int]:
    return [row["trade_id"] for row in json.loads(frame)["data"]]


async def until_beat(socket: aiohttp.ClientWebSocketResponse, sandbox: Sandbox, clock: ManualClock) -> list[str]:
    """Let the next heartbeat come; return what came before it."""
    clock.move(1.0)
    sandbox.step()
    heard: list[str] = []
    while (frame := await socket.receive_str()) != BEAT:
        heard.append(frame)
    return heard


@pytest.mark.parametrize(
    ("fault", "n", "heard"),
    [
        ("drop", 2, [[5], [6]]),
        ("duplicate", 1, [[3], [3], [4], [5], [6]]),
        ("reorder", 1, [[4], [3], [5], [6]]),
        ("reorder", 4, [[4], [3], [6], [5]]),
    ],
)
async def test_frames_are_damaged_as_often_as_told_and_then_no_more(
    sandbox: Sandbox, dial: Dial, clock: ManualClock, *, fault: str, n: int, heard: list[list[int]]
) -> None:
    socket = await follow(dial, sandbox)
    sandbox.faults.throw(fault, n=n)
    sandbox.burst("BTC/USD", 4)
    assert [ids(frame) for frame in await until_beat(socket, sandbox, clock)] == heard


async def test_a_frame_that_is_held_back_comes_with_the_next_heartbeat(
    sandbox: Sandbox, dial: Dial, clock: ManualClock
) -> None:
    socket = await follow(dial, sandbox)
    sandbox.faults.throw("reorder")
    sandbox.burst("BTC/USD", 1)
    assert [ids(frame) for frame in await until_beat(socket, sandbox, clock)] == [[3]]


async def test_a_torn_frame_is_no_json_and_the_next_is_whole(sandbox: Sandbox, dial: Dial, clock: ManualClock) -> None:
    socket = await follow(dial, sandbox)
    sandbox.faults.throw("torn", n=1)
    sandbox.burst("BTC/USD", 2)
    torn, whole = await until_beat(socket, sandbox, clock)
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert torn.startswith('{"channel":"trade"')
    assert ids(whole) == [4]


async def test_in_a_hush_only_heartbeats_and_acknowledgements_go_on(
    sandbox: Sandbox, dial: Dial, clock: ManualClock
) -> None:
    socket = await follow(dial, sandbox)
    sandbox.faults.throw("hush", 3.0)
    sandbox.burst("BTC/USD", 1)
    await socket.send_json(subscribe("ETH/EUR"))
    assert (await socket.receive_json())["result"]["symbol"] == "ETH/EUR"
    assert await until_beat(socket, sandbox, clock) == []
    clock.move(3.0)
    sandbox.burst("BTC/USD", 1)
    assert ids(await socket.receive_str()) == [4]


async def test_a_muted_pair_is_silent_and_others_are_not(sandbox: Sandbox, dial: Dial, clock: ManualClock) -> None:
    socket = await follow(dial, sandbox)
    await socket.send_json(subscribe("ETH/EUR"))
    assert (await socket.receive_json())["success"] is True
    assert ids(await socket.receive_str()) == [1, 2]
    sandbox.faults.lines.muted.add("BTC/USD")
    sandbox.burst("BTC/USD", 1)
    sandbox.burst("ETH/EUR", 1)
    (frame,) = await until_beat(socket, sandbox, clock)
    assert '"symbol":"ETH/EUR"' in frame
    sandbox.faults.release()
    sandbox.burst("BTC/USD", 1)
    assert ids(await socket.receive_str()) == [4]


EVERY_STALL = [Stall(ping_frames=frame, ping_messages=message) for frame in (True, False) for message in (True, False)]


async def answers(socket: aiohttp.ClientWebSocketResponse, stall: Stall) -> None:
    """Send both kinds of ping; fail if other answers come than ``stall`` lets through, or anything else."""
    await socket.ping(b"frame")
    await socket.send_json({"method": "ping", "req_id": 7})
    expected = ["frame"] * stall.ping_frames + ["message"] * stall.ping_messages
    came = [_answered(await socket.receive()) for _ in expected]
    assert sorted(came) == expected
    with pytest.raises(TimeoutError):
        await socket.receive(timeout=0.05)
    assert not socket.closed


def _answered(message: aiohttp.WSMessage) -> str:
    if message.type is aiohttp.WSMsgType.PONG:
        return str(message.data, "ascii")
    assert json.loads(message.data)["method"] == "pong"
    return "message"


async def test_a_line_that_lives_answers_pings_of_both_kinds(sandbox: Sandbox, dial: Dial) -> None:
    await answers(await follow(dial, sandbox), Stall(ping_frames=True, ping_messages=True))


@pytest.mark.parametrize("stall", EVERY_STALL)
async def test_a_stalled_line_answers_only_the_pings_allowed_and_new_lines_live(
    sandbox: Sandbox, dial: Dial, clock: ManualClock, stall: Stall
) -> None:
    dead = await follow(dial, sandbox)
    sandbox.faults.throw("stall", stall=stall)
    alive = await follow(dial, sandbox)
    sandbox.burst("BTC/USD", 1)
    await dead.send_json(subscribe("ETH/EUR"))
    assert len(await until_beat(alive, sandbox, clock)) == 1
    await answers(dead, stall)


async def test_a_line_that_stalls_answers_pings_unless_told_otherwise(sandbox: Sandbox, dial: Dial) -> None:
    dead = await follow(dial, sandbox)
    sandbox.faults.throw("stall")
    await answers(dead, Stall(ping_frames=True, ping_messages=True))


@pytest.mark.parametrize("stall", EVERY_STALL)
async def test_the_line_of_one_pair_can_be_dead_in_either_way(sandbox: Sandbox, dial: Dial, stall: Stall) -> None:
    dead = await follow(dial, sandbox)
    sandbox.deaden("BTC/USD", stall)
    sandbox.burst("BTC/USD", 1)
    await answers(dead, stall)


async def test_one_line_of_several_can_be_severed_or_dead(sandbox: Sandbox, dial: Dial, clock: ManualClock) -> None:
    eth, btc = await follow(dial, sandbox, "ETH/EUR"), await follow(dial, sandbox)
    sandbox.deaden("BTC/USD")
    sandbox.burst("BTC/USD", 1)
    sandbox.burst("ETH/EUR", 1)
    assert len(await until_beat(eth, sandbox, clock)) == 1
    with pytest.raises(TimeoutError):
        await btc.receive(timeout=0.05)
    sandbox.sever("BTC/USD")
    assert (await btc.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
    assert not eth.closed
    with pytest.raises(UsageError, match="no connection follows 'DOGE/USD'"):
        sandbox.sever("DOGE/USD")


async def test_who_is_brushed_off_is_let_in_and_sent_away(sandbox: Sandbox, dial: Dial, clock: ManualClock) -> None:
    sandbox.faults.throw("brush_off", 60.0)
    socket = await dial()
    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert [request.status for request in sandbox.requests.to("/v2")] == [101]
    clock.move(60.0)
    await follow(dial, sandbox)


@pytest.mark.parametrize("name", [*FRAMES, *LINES])
def test_a_fault_ends_with_its_time_or_by_release(clock: ManualClock, name: str) -> None:
    for end in ("time", "release"):
        lines = WebSocketFaults(clock)
        lines.throw(name, 5.0)
        clock.move(4.0)
        active = (lines.strike(), lines.brushing_off, lines.silent(["BTC/USD"]), lines.stalls, lines.answers_late)
        assert any(active)
        if end == "time":
            clock.move(1.0)
        else:
            lines.release()
        assert (lines.strike(), lines.brushing_off, lines.silent(["BTC/USD"])) == (frozenset(), False, False)


def test_damage_to_some_frames_can_be_scripted_and_nothing_else_counted(clock: ManualClock) -> None:
    faults = Faults(clock, hang_up=lambda: None, script=[parse_act("0:drop:2x")])
    faults.follow_script()
    assert [sorted(faults.lines.strike()) for _ in range(3)] == [["drop"], ["drop"], []]
    with pytest.raises(UsageError, match="drop, duplicate, reorder, torn for some frames"):
        parse_act("0:stall:2x")
    with pytest.raises(UsageError, match="drop is for a time"):
        parse_act("0:drop:2x:/0/public/OHLC")
    with pytest.raises(UsageError, match="for 0 frames"):
        faults.throw("drop", n=0)
    with pytest.raises(UsageError, match="no fault of lines 'flood'"):
        faults.lines.throw("flood")
