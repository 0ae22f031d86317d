from __future__ import annotations

from decimal import Decimal

import pytest

from recorder.archive.schema import quotes_table
from recorder.core.model import TopOfBook
from recorder.errors import Malformed
from recorder.kraken import ticker_frames, timestamps
from recorder.kraken.ticker_frames import TopRow
from tests.kraken.quote_frames import PAIR, REAL, ticker, top

RECEIVED_NS = 1_790_358_506_900_000_999
ETH = "ETH/USD"
UNFIT = {
    "a symbol that is no text": {"symbol": "7"},
    "a symbol that is too long": {"symbol": f'"{"A" * 65}"'},
    "a price with 13 digits after the point": {"bid": "0.1234567890123"},
    "a price with 17 digits before it": {"ask": "12345678901234567"},
    "a price below zero": {"last": "-1.0"},
    "a price that is a word": {"bid": '"none"'},
    "a price that is no number": {"bid": '"NaN"'},
    "a price of a billion digits": {"bid": "1E+900000000"},
    "a quantity with nine digits after the point": {"bid_qty": "0.123456789"},
    "a quantity below zero": {"ask_qty": "-0.1"},
    "a price that is absent": {"bid": ""},
    "a time that is a number": {"timestamp": "1790358506"},
    "a time that is none": {"timestamp": '"2026-13-25T17:48:26.844359Z"'},
}


def test_a_real_frame_is_read_to_the_last_digit() -> None:
    assert ticker_frames.rows(REAL) == [TopRow(PAIR, begins=False)]
    (quote,) = ticker_frames.quotes(REAL, {PAIR: (17, 4)}, received_ns=RECEIVED_NS)
    assert quote == TopOfBook(
        PAIR,
        timestamps.micros("2026-09-25T17:48:26.844359Z"),
        RECEIVED_NS // 1000,
        Decimal("83744.2"),
        Decimal("0.56251979"),
        Decimal("83744.3"),
        Decimal("0.00044780"),
        Decimal("83744.3"),
        17,
        4,
    )


def test_a_frame_of_an_older_capture_has_no_time_and_a_snapshot_begins_a_subscription() -> None:
    frame = ticker(top(timestamp=""), kind="snapshot")
    assert ticker_frames.rows(frame) == [TopRow(PAIR, begins=True)]
    assert ticker_frames.quotes(frame, {PAIR: (1, 0)}, received_ns=RECEIVED_NS)[0].time_us is None


@pytest.mark.parametrize("fields", UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_refused_and_costs_its_row_alone(fields: dict[str, str]) -> None:
    odd, good = top(**fields), top(ETH)
    with pytest.raises(Malformed):
        ticker_frames.rows(ticker(odd))
    found = ticker_frames.salvaged(ticker(odd, good))
    assert found.frame == ticker(good)
    assert found.unread == (() if "symbol" in fields else (PAIR,))
    assert ticker_frames.salvaged(ticker(odd)).frame is None


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"channel":"ticker","type":"update","data":[]}', b'{"channel":"ticker"}']
)
def test_a_frame_without_a_row_is_refused(text: bytes) -> None:
    for read in (ticker_frames.rows, ticker_frames.salvaged):
        with pytest.raises(Malformed):
            read(text)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"bid": "0.0"}, "zero or null"),
        ({"ask_qty": "null"}, "zero or null"),
        ({"last": "null"}, "zero or null"),
        ({"bid": "83744.3"}, "not below the ask"),
        ({"timestamp": '"1970-01-01T00:00:00.000000Z"'}, "the time 1970"),
    ],
)
def test_what_is_odd_and_fits_is_stored_as_it_came_and_told(fields: dict[str, str], what: str) -> None:
    frame = ticker(top(**fields))
    (row,) = ticker_frames.rows(frame)
    assert row.odd is not None
    assert what in row.odd
    assert quotes_table(ticker_frames.quotes(frame, {PAIR: (1, 0)}, received_ns=RECEIVED_NS)).num_rows == 1


def test_rows_of_one_pair_in_one_frame_count_on() -> None:
    frame = ticker(top(), top(ETH), top())
    made = ticker_frames.quotes(frame, {PAIR: (9, 5), ETH: (8, 0)}, received_ns=RECEIVED_NS)
    assert [(quote.pair, quote.session, quote.message) for quote in made] == [(PAIR, 9, 5), (ETH, 8, 0), (PAIR, 9, 6)]
    with pytest.raises(Malformed, match="names no session of ETH/USD"):
        ticker_frames.quotes(frame, {PAIR: (9, 5)}, received_ns=RECEIVED_NS)


def test_only_wanted_rows_are_left_byte_for_byte() -> None:
    frame = ticker(top(), top(ETH), kind="snapshot")
    assert ticker_frames.only(frame, lambda pair: pair == ETH) == ticker(top(ETH), kind="snapshot")
    assert ticker_frames.only(frame, lambda _: False) is None


def test_the_pair_of_a_frame_that_ends_too_soon_is_known_if_it_got_that_far() -> None:
    whole = ticker()
    assert ticker_frames.pairs_of_unread(whole[: len(whole) // 2]) == [PAIR]
    assert ticker_frames.pairs_of_unread(whole[:20]) == []
    assert ticker_frames.pairs_of_unread(ticker(top(bid="-1"), top(ETH, bid='"x"'))) == [PAIR, ETH]
    assert ticker_frames.pairs_of_unread(ticker(top(symbol="null"))) == []
