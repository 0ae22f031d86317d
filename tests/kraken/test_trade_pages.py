from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.errors import Malformed
from recorder.kraken import asset_pairs, trade_pages
from tests.kraken.rest_answers import TRADE_ROW, result_of


@pytest.mark.parametrize(
    ("name", "pair", "ids", "last"),
    [
        ("XBTUSDT_1000_2025-11-11", "BTC/USDT", range(10218208, 10219208), "1762820035982277754"),
        ("XXBTZUSD_trimmed_2023-11-26", "BTC/USD", range(64754585, 64754616), None),
        ("BTC-USD_3rows_same_time_2026-09-25", "BTC/USD", range(109118758, 109118761), "1790359841138228746"),
    ],
)
def test_every_real_page_is_read_text_for_text(
    payloads: Path, name: str, pair: str, ids: range, last: str | None
) -> None:
    path = payloads / f"rest/Trades/{name}.json"
    page = trade_pages.parse_page(result_of(path), pair)
    said = json.loads(path.read_bytes(), parse_float=str, parse_int=str)["result"]
    assert page.last == said.pop("last")
    assert last in (None, page.last)
    (rows,) = said.values()
    assert [row.trade_id for row in page.trades] == list(ids)
    for row, (price, volume, time, side, ord_type, misc, trade_id) in zip(page.trades, rows, strict=True):
        whole, _, fraction = time.partition(".")
        assert row == Trade(
            pair,
            int(trade_id),
            int(whole + fraction.ljust(6, "0")[:6]),
            Decimal(price),
            Decimal(volume),
            "buy" if side == "b" else "sell",
            {"m": "market", "l": "limit"}[ord_type],
            misc,
            "rest",
            None,
        )
        assert (f"{row.price:f}", f"{row.qty:f}") == (price, volume)


def test_the_six_column_rows_of_2013_are_refused_by_a_sentence(payloads: Path) -> None:
    result = result_of(payloads / "rest/Trades/xchange_old.json")
    with pytest.raises(Malformed, match=r"an answer of Trades for BTC/USD that cannot be read: .*length 7, got 6"):
        trade_pages.parse_page(result, "BTC/USD")


@pytest.mark.parametrize(
    ("rest_of_it", "last"),
    [
        (b"", None),
        (b',"last":null', None),
        (b',"last":"1701019771038366345"', "1701019771038366345"),
        (b',"last":1701019771038366345', "1701019771038366345"),
    ],
)
def test_the_cursor_stays_its_text_and_may_be_missing(rest_of_it: bytes, last: str | None) -> None:
    page = trade_pages.parse_page(b'{"XXBTZUSD":[' + TRADE_ROW % 5 + b"]" + rest_of_it + b"}", "BTC/USD")
    assert page.last == last
    assert len(page.trades) == 1


def test_a_page_may_be_empty_and_its_order_is_by_id() -> None:
    assert trade_pages.parse_page(b'{"X":[],"last":"5"}', "BTC/USD") == trade_pages.TradesPage((), "5")
    page = trade_pages.parse_page(b'{"X":[%s,%s]}' % (TRADE_ROW % 9, TRADE_ROW % 8), "BTC/USD")
    assert [row.trade_id for row in page.trades] == [8, 9]


def test_new_columns_and_kinds_are_krakens_to_add() -> None:
    row = TRADE_ROW.replace(b'"l"', b'"x"') % 5
    page = trade_pages.parse_page(b'{"X":[%s]}' % row.replace(b"5]", b'5,"new",[1]]'), "BTC/USD")
    assert (page.trades[0].trade_id, page.trades[0].ord_type) == (5, "x")


@pytest.mark.parametrize(
    ("result", "because"),
    [
        (b"[]", "cannot be read"),
        (b"null", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"X":' + b"[" * 100_000, "cannot be read"),
        (b'{"last":"5"}', "it should hold one list of trades beside `last`, not 0"),
        (
            b'{"X":[%s],"Y":[%s]}' % (TRADE_ROW % 5, TRADE_ROW % 6),
            "it should hold one list of trades beside `last`, not 2",
        ),
        (b'{"X":5,"last":"5"}', "it should hold one list of trades beside `last`, not 0"),
        (b'{"X":{}}', "cannot be read"),
        (b'{"X":["a"],"Y":["b"]}', "not 2"),
        (b'{"X":[%s]}' % (TRADE_ROW % 0), ">= 1"),
        (b'{"X":[%s]}' % (TRADE_ROW % 2**63), "<= 9223372036854775807"),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b'"b"', b'"x"') % 5), "trade 5 has side 'x', neither 'b' nor 's'"),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b"37247.00000", b"dear") % 5), "'dear' is no number"),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b"37247.00000", b"NaN") % 5), "'NaN' is no number"),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b"37247.00000", b" 1_0 ") % 5), "' 1_0 ' is no number"),
        (
            b'{"X":[%s]}' % (TRADE_ROW.replace(b"37247.00000", b"1e99999999999999999999") % 5),
            "is no number that can be held",
        ),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b"0.00026451", b"0.000264511") % 5), "does not fit the archive's"),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b"1701019771.0383663", b"1e30") % 5), "is not a time in seconds"),
        (b'{"X":[%s]}' % (TRADE_ROW.replace(b"1701019771.0383663", b'"Infinity"') % 5), "is not a time in seconds"),
    ],
)
def test_a_page_that_cannot_be_read_is_refused_whole_by_a_sentence(result: bytes, because: str) -> None:
    with pytest.raises(Malformed, match=r"^an answer of Trades for BTC/USD that cannot be read") as caught:
        trade_pages.parse_page(result, "BTC/USD")
    assert because in str(caught.value)


@given(st.binary(max_size=300))
def test_no_bytes_make_a_page_fail_otherwise(result: bytes) -> None:
    for read in (lambda: trade_pages.parse_page(result, "BTC/USD"), lambda: asset_pairs.parse_listing(result).entries):
        with contextlib.suppress(Malformed):
            read()
