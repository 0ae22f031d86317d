from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from recorder.sandbox.market import Market
from recorder.sandbox.rest_faults import ERRORS, PAGES, page_text
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import Throttle
from tests.clocks import ManualClock

OHLC = "/0/public/OHLC?pair=XBTUSD"
TRADES = "/0/public/Trades?pair=XBTUSD"


@pytest.fixture
async def sandbox(clock: ManualClock) -> AsyncIterator[Sandbox]:
    market = Market(start_ns=clock.wall_ns(), rate=200, history=60)
    async with Sandbox(market, clock=clock).serve() as serving:
        yield serving


async def get(http: aiohttp.ClientSession, path: str) -> tuple[int, str, str]:
    async with http.get(path) as answer:
        return answer.status, answer.content_type, await answer.text()


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_on_demand_comes_as_json_with_status_200_and_without_a_result(
    sandbox: Sandbox, http: aiohttp.ClientSession, name: str
) -> None:
    sandbox.faults.rest.throw(name, n=1)
    status, kind, text = await get(http, OHLC)
    assert (status, kind, list(json.loads(text))) == (200, "application/json", ["error"])
    assert json.loads((await get(http, OHLC))[2])["error"] == []


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_of_the_edge_comes_as_html_with_its_status(
    sandbox: Sandbox, http: aiohttp.ClientSession, name: str
) -> None:
    sandbox.faults.rest.throw(name, n=1)
    status, kind, text = await get(http, OHLC)
    assert (status, kind) == (PAGES[name][0], "text/html")
    assert text.startswith("<html>")
    assert [(request.status, request.fault) for request in sandbox.requests] == [(status, name)]


async def test_a_mishap_on_one_path_leaves_the_others_alone(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.faults.rest.throw("http_502", path="/0/public/OHLC")
    assert (await get(http, TRADES))[0] == 200
    assert (await get(http, OHLC))[0] == 502


async def test_a_truncated_body_is_half_of_the_right_one_and_claims_to_be_all(
    sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    _, _, whole = await get(http, OHLC)
    sandbox.faults.rest.throw("truncated", n=1)
    assert await get(http, OHLC) == (200, "application/json", whole[: len(whole) // 2])


async def test_a_cut_answer_ends_with_the_connection(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.faults.rest.throw("cut", n=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(http, OHLC)
    assert (await get(http, OHLC))[0] == 200


@pytest.mark.parametrize("path", [OHLC, TRADES])
async def test_an_answer_can_lack_its_last_and_nothing_else(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str
) -> None:
    whole = json.loads((await get(http, path))[2])["result"]
    sandbox.faults.rest.throw("no_last", n=1)
    lacking = json.loads((await get(http, path))[2])["result"]
    assert "last" in whole
    assert lacking == {key: value for key, value in whole.items() if key != "last"}


async def test_a_slow_answer_waits_for_the_clock_and_is_right_then(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    sandbox.freeze()
    sandbox.faults.rest.throw("slow", n=1, delay_s=30.0)
    late = asyncio.create_task(get(http, OHLC))
    while not len(sandbox.requests):
        await asyncio.sleep(0)
    at_s = clock.monotonic()
    clock.move(29.0)
    assert (await get(http, TRADES))[0] == 200
    assert not late.done()
    clock.move(1.0)
    assert (await late)[0] == 200
    assert next(iter(sandbox.requests)).at_s == at_s


async def test_a_cached_answer_is_repeated_for_two_seconds_byte_for_byte(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    sandbox.faults.rest.throw("cached", path="/0/public/Trades")
    first = await get(http, TRADES)
    sandbox.burst("BTC/USD", 5)
    assert await get(http, f"{TRADES}&count=1000") != first
    clock.move(1.9)
    async with http.get(TRADES) as repeated:
        assert repeated.headers["CF-Cache-Status"] == "HIT"
        assert await repeated.text() == first[2]
    clock.move(0.2)
    assert await get(http, TRADES) != first


async def test_the_newest_of_several_replacements_is_told(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    sandbox.faults.rest.throw("http_500", n=1)
    sandbox.faults.rest.throw("busy", n=1)
    assert json.loads((await get(http, OHLC))[2]) == {"error": ["EService:Busy"]}
    assert (await get(http, OHLC))[0] == 200


async def test_nobody_is_throttled_unless_it_is_switched_on(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    for _ in range(50):
        assert json.loads((await get(http, "/0/public/Time"))[2])["error"] == []


async def test_who_asks_too_fast_is_told_with_status_200_and_it_stands_in_the_log(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    sandbox.throttle(Throttle(clock, size=2))
    answers = [json.loads((await get(http, "/0/public/Time"))[2]) for _ in range(3)]
    assert answers[2] == {"error": ["EGeneral:Too many requests"]}
    assert [answer["error"] for answer in answers[:2]] == [[], []]
    assert [(request.status, request.fault) for request in sandbox.requests] == [
        (200, ""),
        (200, ""),
        (200, "throttle"),
    ]
    sandbox.throttle(None)
    assert json.loads((await get(http, "/0/public/Time"))[2])["error"] == []


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("rate_limit", (200, "application/json", '{"error":["EAPI:Rate limit exceeded"]}')),
        ("throttled", (200, "application/json", '{"error":["EService: Throttled: 1783465210"]}')),
        ("http_429", (429, "text/html", page_text("http_429"))),
    ],
)
async def test_a_throttle_can_be_told_in_other_forms(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock, form: str, told: tuple[int, str, str]
) -> None:
    sandbox.throttle(Throttle(clock, size=1, per_s=0.25, form=form))
    await get(http, "/0/public/Time")
    assert await get(http, "/0/public/Time") == told


async def test_control_is_neither_throttled_nor_spoilt(
    sandbox: Sandbox, http: aiohttp.ClientSession, clock: ManualClock
) -> None:
    sandbox.throttle(Throttle(clock, size=1))
    sandbox.faults.rest.throw("http_502")
    for _ in range(3):
        assert (await get(http, "/sandbox/truth"))[0] == 200
