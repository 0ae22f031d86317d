from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from recorder.cli import app
from recorder.clock import SystemClock
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox


async def look(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    clock = SystemClock()
    async with Sandbox(Market(start_ns=clock.wall_ns()), clock=clock).serve() as sandbox:
        monkeypatch.setenv("RECORDER_EXCHANGE__REST_URL", sandbox.rest_url)
        monkeypatch.setenv("RECORDER_EXCHANGE__REQUESTS_PER_SECOND", "1000")
        return await asyncio.to_thread(CliRunner().invoke, app, ["look", *arguments], catch_exceptions=True)


async def test_pairs_are_shown_by_any_name_without_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    told = await look("XBTUSD", "doge/usd", "--levels", "3", monkeypatch=monkeypatch)
    assert told.exit_code == 0, told.output
    assert [line for line in told.output.splitlines() if line in {"BTC/USD", "DOGE/USD"}] == ["BTC/USD", "DOGE/USD"]
    assert "bps" in told.output
    found = json.loads((await look("BTC/USD", "--levels", "3", "--json", monkeypatch=monkeypatch)).stdout)
    assert [one["pair"] for one in found] == ["BTC/USD"]
    assert len(found[0]["asks"]) == len(found[0]["bids"]) == 3
    assert float(found[0]["bids"][0][0]) < float(found[0]["asks"][0][0])


async def test_a_name_that_is_none_is_told_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    told = await look("BTC/UDS", monkeypatch=monkeypatch)
    assert "did you mean BTC/USD" in str(told.exception)
