from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Instrument
from recorder.errors import Malformed
from recorder.kraken import ticker_quotes, timestamps, trade_pages
from tests.kraken.rest_answers import result_of


def ticker_part(price: object = "63501.60000", qty: object = "0.00100000", today: object = 35) -> dict[str, object]:
    return {"a": ["1", "1", "1.000"], "c": [price, qty], "t": [today, 3276], "o": "1"}


def ticker_of(**parts: object) -> bytes:
    return json.dumps(parts).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("XBTUSDT_2025-11-11.json", {"BTC/USDT": ("105899.40000", "0.00009443", 35)}),
        (
            "XETHZUSD_USDCUSD_XXBTZUSD_2024-01.json",
            {
                "BTC/USD": ("40228.50000", "0.00027343", 10238),
                "ETH/USD": ("2243.89000", "0.01000000", 4629),
                "USDC/USD": ("1.00020000", "5000.00000000", 1977),
            },
        ),
        ("xchange_old.json", {"BTC/EUR": ("560.87711", "0.01447739", 305)}),
    ],
)
def test_every_real_ticker_is_read_for_the_pairs_asked(
    payloads: Path, listed: list[Instrument], name: str, expected: dict[str, tuple[str, str, int]]
) -> None:
    quotes = ticker_quotes.parse_quotes(result_of(payloads / "rest/Ticker" / name), listed)
    assert quotes.unreadable == {}
    assert {p: (str(q.price), str(q.qty), q.today) for p, q in quotes.by_pair.items()} == expected


def test_the_count_of_the_real_ticker_is_the_number_of_ids_since_midnight(
    payloads: Path, listed: list[Instrument]
) -> None:
    """A page and a ticker of one moment: the count counts ids, and price and volume are those of the newest one."""
    (quote,) = ticker_quotes.parse_quotes(
        result_of(payloads / "rest/Ticker/XBTUSDT_2025-11-11.json"), listed
    ).by_pair.values()
    page = trade_pages.parse_page(result_of(payloads / "rest/Trades/XBTUSDT_1000_2025-11-11.json"), "BTC/USDT")
    midnight_us = timestamps.micros("2025-11-11T00:00:00Z")
    yesterday = max(trade.trade_id for trade in page.trades if trade.time_us < midnight_us)
    assert quote.today == page.trades[-1].trade_id - yesterday
    assert (quote.price, quote.qty) == (page.trades[-1].price, page.trades[-1].qty)


@pytest.mark.parametrize("name", ["XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD"])
def test_a_pair_is_found_in_the_ticker_under_each_of_its_names(listed: list[Instrument], name: str) -> None:
    bitcoin = [instrument for instrument in listed if instrument.pair == "BTC/USD"]
    assert ticker_quotes.parse_quotes(ticker_of(**{name: ticker_part()}), bitcoin).by_pair["BTC/USD"].today == 35


def test_no_pair_of_the_real_listing_is_taken_for_another(listed: list[Instrument]) -> None:
    for names in ("key", "altname", "wsname", "pair"):
        answer = {getattr(each, names): ticker_part(today=n) for n, each in enumerate(listed)}
        found = ticker_quotes.parse_quotes(ticker_of(**answer), listed).by_pair
        assert {pair: quote.today for pair, quote in found.items()} == {e.pair: n for n, e in enumerate(listed)}


@pytest.mark.parametrize(
    "part",
    [
        None,
        [],
        {},
        {"c": ["1", "1"]},
        {"t": [1, 1]},
        ticker_part(price="NaN"),
        ticker_part(price="x"),
        ticker_part(qty=None),
        ticker_part(price=63501.6),
        ticker_part(today="35"),
        ticker_part(today=-1),
        ticker_part(today=1.5),
        {"c": ["1"], "t": [1, 1]},
        {"c": ["1", "1"], "t": []},
    ],
)
def test_a_part_of_the_ticker_that_cannot_be_read_is_told_and_spoils_no_other(
    listed: list[Instrument], part: object
) -> None:
    quotes = ticker_quotes.parse_quotes(ticker_of(XXBTZUSD=part, XETHZUSD=ticker_part(), unheard_of=None), listed)
    assert list(quotes.by_pair) == ["ETH/USD"]
    assert list(quotes.unreadable) == ["BTC/USD"]
    assert "a part of Ticker for BTC/USD that cannot be read" in quotes.unreadable["BTC/USD"]


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_no_bytes_make_a_ticker_fail_otherwise(result: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert ticker_quotes.parse_quotes(result, []).by_pair == {}


@pytest.mark.parametrize("result", [b"", b"[]", b"null", b"<html>"])
def test_an_answer_of_ticker_that_is_no_table_is_malformed(result: bytes) -> None:
    with pytest.raises(Malformed, match="an answer of Ticker that cannot be read"):
        ticker_quotes.parse_quotes(result, [])
