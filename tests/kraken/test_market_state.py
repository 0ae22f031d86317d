from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.errors import Malformed
from recorder.kraken import market_state, rest_api
from tests.builders import BTC

REST = Path(__file__).parents[2].with_name("shared") / "kraken/payloads/rest"


def answer(path: str) -> bytes:
    if not REST.is_dir():
        pytest.skip("the real payloads are not here")
    (text,) = [json.dumps({"XXBTZUSD": value}) for value in json.loads((REST / path).read_text())["result"].values()]
    return text.encode()


@pytest.mark.parametrize("path", ["XBTUSDT_2025-11-11.json", "XXBTZUSD_count25_2026-07-07.json"])
def test_a_real_book_is_read_to_the_last_digit(path: str) -> None:
    told = answer(f"Depth/{path}")
    found = market_state.book(told, BTC)
    sides = json.loads(told)["XXBTZUSD"]
    for side, levels in (("asks", found.asks), ("bids", found.bids)):
        assert [[str(one.price), str(one.qty), one.time_s] for one in levels] == sides[side]
    assert found.spread == Decimal(sides["asks"][0][0]) - Decimal(sides["bids"][0][0])
    assert found.spread_bps is not None
    assert 0 < found.spread_bps < 1


def test_a_real_ticker_is_read() -> None:
    found = market_state.day(answer("Ticker/XBTUSDT_2025-11-11.json"), BTC)
    assert (found.last, found.volume, found.trades) == (Decimal("105899.40000"), Decimal("163.28908096"), 3276)
    assert (found.low, found.high) == (Decimal("104711.00000"), Decimal("106613.10000"))


def test_a_side_may_be_empty() -> None:
    found = market_state.book(b'{"BTC/USD":{"asks":[],"bids":[["1.5","2",3]]}}', BTC)
    assert (found.asks, found.spread, found.spread_bps) == ((), None, None)
    nothing = market_state.book(b'{"BTC/USD":{"asks":[["0","1",3]],"bids":[["0","2",3]]}}', BTC)
    assert nothing.spread_bps is None


@pytest.mark.parametrize(
    "told",
    [
        b"[]",
        b"{}",
        b'{"ETH/USD":{"asks":[],"bids":[]}}',
        b'{"BTC/USD":{"asks":[["x","1",3]],"bids":[]}}',
        b'{"BTC/USD":{"asks":[["1","NaN",3]],"bids":[]}}',
        b'{"BTC/USD":{"asks":[["1"]],"bids":[]}}',
        b'{"BTC/USD":{"asks":null,"bids":[]}}',
        b'{"BTC/USD":{"a":["1"],"b":["1"],"c":["1"],"v":[],"p":[],"t":[],"l":[],"h":[]}}',
    ],
)
def test_what_cannot_be_read_is_malformed(told: bytes) -> None:
    with pytest.raises(Malformed, match="Depth for BTC/USD"):
        market_state.book(told, BTC)
    with pytest.raises(Malformed, match="Ticker for BTC/USD"):
        market_state.day(told, BTC)


def test_a_book_is_asked_for_by_pair_and_depth() -> None:
    assert rest_api.depth(BTC, 25).target == "/0/public/Depth?pair=XBTUSD&count=25"
