from __future__ import annotations

import json
from decimal import Decimal

import pytest

from recorder.sandbox import book
from recorder.sandbox.market import Market
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.rest import Rest
from recorder.sandbox.tape import Tape

START_NS = 1_762_776_000 * 10**9


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market(start_ns=START_NS)
    market.advance(START_NS + 60 * 10**9)
    return market


@pytest.mark.parametrize("symbol", ["BTC/USD", "DOGE/USD"])
def test_a_book_stands_around_the_last_trade_and_fits_the_ticker(market: Market, symbol: str) -> None:
    rest, pair = Rest(market), market.listing.named(symbol)
    assert pair is not None
    now_ns = START_NS + 61 * 10**9
    told = json.loads(rest.answer("Depth", {"pair": symbol, "count": "25"}, now_ns=now_ns))["result"][symbol]
    ticker = json.loads(rest.answer("Ticker", {"pair": symbol}, now_ns=now_ns))["result"][symbol]
    asks, bids = ([Decimal(price) for price, _, _ in told[side]] for side in ("asks", "bids"))
    assert asks == sorted(set(asks))
    assert bids == sorted(set(bids), reverse=True)
    assert len(asks) == 25
    assert (asks[0], bids[0]) == (Decimal(ticker["a"][0]), Decimal(ticker["b"][0]))
    assert all(price % pair.tick_size == 0 for price in asks + bids)
    assert all(len(qty.partition(".")[2]) == 3 and Decimal(qty) > 0 for side in told.values() for _, qty, _ in side)
    again = json.loads(rest.answer("Depth", {"pair": symbol, "count": "5"}, now_ns=now_ns))["result"][symbol]
    assert again == {side: levels[:5] for side, levels in told.items()}


def test_a_pair_that_never_traded_has_an_empty_book() -> None:
    assert book.depth(Tape(pair_of("A/B", pair_decimals=2, lot_decimals=8)), 10, START_NS) == {"asks": [], "bids": []}


@pytest.mark.parametrize("query", [{}, {"pair": "XBTUSD", "count": "0"}, {"pair": "XBTUSD", "count": "501"}])
def test_what_kraken_refuses_is_refused(market: Market, query: dict[str, str]) -> None:
    assert json.loads(Rest(market).answer("Depth", query, now_ns=START_NS))["error"] == ["EGeneral:Invalid arguments"]
