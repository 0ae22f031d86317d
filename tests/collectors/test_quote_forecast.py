"""What quotes will take is told before they are recorded, from what the pairs trade."""

from __future__ import annotations

import json

from structlog.testing import capture_logs

from recorder.collectors.quote_forecast import announce
from recorder.core.quote_forecast import QUOTES_A_TRADE
from recorder.errors import ExchangeError, Unavailable
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from tests.builders import BTC, ETH, answered
from tests.fakes import Fakes

BODY = json.dumps({"error": [], "result": {"XXBTZUSD": {"t": [5, 1000]}, "XETHZUSD": {"t": ["odd", None]}}}).encode()


class Ticker:
    """Answers each request with the one answer, or fails."""

    def __init__(self, answer: HttpAnswer | ExchangeError) -> None:
        self._answer = answer

    async def get(self, request: Request) -> HttpAnswer:
        assert request.target.startswith("/0/public/Ticker?pair=XBTUSD")
        if isinstance(self._answer, ExchangeError):
            raise self._answer
        return self._answer


async def test_it_is_logged_in_megabytes() -> None:
    with capture_logs() as logged:
        made = await announce(Fakes(Ticker(answered(BODY))).exchange, [BTC, ETH])
    assert made is not None
    (line,) = logged
    assert (line["pairs"], line["quotes_a_day"]) == (2, 1000 * QUOTES_A_TRADE)
    assert (line["archive_mb_a_day"], line["raw_mb_a_day"]) == (0.5, 1.6)


async def test_an_exchange_out_of_reach_stops_nothing() -> None:
    with capture_logs() as logged:
        assert await announce(Fakes(Ticker(Unavailable("nobody answers"))).exchange, [BTC]) is None
    assert [line["event"] for line in logged] == ["no forecast for quotes"]
