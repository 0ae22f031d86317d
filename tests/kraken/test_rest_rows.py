from __future__ import annotations

import pytest

from recorder.kraken import ohlc_answers, trade_pages
from recorder.kraken.trade_pages import TradesPage
from tests.kraken.rest_answers import TRADE_ROW, ohlc_json

BESIDE = [
    '"count":5',
    '"count":null',
    '"note":"x"',
    '"more":{"a":[[1]]}',
    '"warnings":[]',
    '"warnings":["x"]',
    '"a":1,"b":[]',
]


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("first", [True, False])
def test_whatever_stands_beside_the_rows_of_an_answer_is_passed_over(beside: str, *, first: bool) -> None:
    for rows, ids in (((TRADE_ROW % 5).decode(), [5]), ("", [])):
        parts = [beside, f'"X":[{rows}]'] if first else [f'"X":[{rows}]', beside]
        page = trade_pages.parse_page(f'{{{",".join(parts)},"last":"7"}}'.encode(), "BTC/USD")
        assert ([trade.trade_id for trade in page.trades], page.last) == (ids, "7")
    told = ohlc_json((0, "1"), (60, "1")).decode()[1:]
    assert [one.time_us for one in ohlc_answers.parse_answer(f"{{{beside},{told}".encode(), "BTC/USD", "1m").rows] == [
        0
    ]


@pytest.mark.parametrize(
    "result", [b'{"X":null,"last":"7"}', b'{"X":null,"count":5,"last":"7"}', b'{"X": [ ],"last":"7"}']
)
def test_null_in_the_place_of_rows_is_no_row(result: bytes) -> None:
    assert trade_pages.parse_page(result, "BTC/USD") == TradesPage((), "7")
    assert ohlc_answers.parse_answer(result, "BTC/USD", "1m").rows == []


@pytest.mark.parametrize("last", ["[]", "{}", "true", "1.5e18", "null"])
def test_a_cursor_that_is_none_is_left_out(last: str) -> None:
    assert trade_pages.parse_page(f'{{"X":[],"last":{last}}}'.encode(), "BTC/USD") == TradesPage((), None)
