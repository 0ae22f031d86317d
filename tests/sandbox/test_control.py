from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from recorder.sandbox.faults import NAMES
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.sandbox.conftest import ManualClock


@pytest.fixture
async def sandbox(clock: ManualClock) -> AsyncIterator[Sandbox]:
    market = Market(start_ns=clock.wall_ns(), rate=0.001, history={"BTC/USD": 5, "DOGE/USD": 2})
    async with Sandbox(market, clock=clock).serve() as serving:
        yield serving


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.rest_url) as session:
        yield session


async def test_the_truth_is_the_last_id_by_pair(http: aiohttp.ClientSession) -> None:
    async with http.get("/sandbox/truth") as answer:
        assert await answer.json() == {"BTC/USD": 5, "DOGE/USD": 2}


@pytest.mark.parametrize("name", NAMES)
async def test_every_fault_can_be_thrown_from_outside(http: aiohttp.ClientSession, name: str) -> None:
    async with http.post(f"/sandbox/{name}?for_s=1.5") as answer:
        assert answer.status == 200


async def test_refusing_for_a_time_is_for_that_time_and_can_be_released_through_the_shut_door(
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
