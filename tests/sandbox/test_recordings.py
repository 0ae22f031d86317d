from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.sandbox.pairs import SandboxListing, pair_of
from recorder.sandbox.recordings import put, read_listing, read_page, read_session, tape_for

NOTHING_LISTED = SandboxListing(())
ROWS = [
    ["100.00000", "0.50000000", "1700000000.1234567", "b", "l", "", 7],
    ["100.10000", "0.50000000", "1700000000.1234567", "s", "m", "", 8],
]


def page(rows: list[list[Any]], *, key: str = "BTC/USD", last: str = "1700000000123456690") -> str:
    texts = [f'["{p}","{q}",{t},{json.dumps(rest, separators=(",", ":"))[1:]}' for p, q, t, *rest in rows]
    return f'{{"error":[],"result":{{"{key}":[{",".join(texts)}],"last":"{last}"}}}}'


def trade_frame(trade_id: int, *, symbol: str = "BTC/USD", stamp: str = "23:00:05.562702Z", **others: str) -> str:
    kind = others.get("type", "update")
    return (
        f'{{"channel":"trade","type":"{kind}","data":[{{"symbol":"{symbol}","side":"sell","price":63501.60,'
        f'"qty":0.00185211,"ord_type":"limit","trade_id":{trade_id},"timestamp":"2026-07-07T{stamp}"}}]}}'
    )


def test_the_exact_time_of_the_last_row_bounds_those_that_print_the_same() -> None:
    read = read_page(page(ROWS), NOTHING_LISTED)
    assert [row.time_ns for row in read.rows] == [1700000000123456690, 1700000000123456690]


def test_a_last_that_is_not_the_last_rows_is_left_aside() -> None:
    read = read_page(page(ROWS, last="1700000009000000000"), NOTHING_LISTED)
    assert [row.time_ns for row in read.rows] == [1700000000123456700] * 2


def test_a_pair_without_a_listing_gets_the_digits_its_prices_need() -> None:
    pair = read_page(page(ROWS), NOTHING_LISTED).pair
    assert (pair.symbol, pair.pair_decimals, pair.rest_digits) == ("BTC/USD", 1, 5)
    assert pair.altname == "XBTUSD"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (page([]), "is not of rows with trade ids"),
        (page([row[:6] for row in ROWS]), "is not of rows with trade ids"),
        (page(ROWS, key="XBTUSD"), "no listing given knows XBTUSD"),
        (page([ROWS[0], [*ROWS[1][:6], 9]]), "go from 7 to 9"),
        (page([ROWS[0], [*ROWS[1][:5], "note", 8]]), "would be served as"),
        (page([["100.0", *ROWS[0][1:]], ROWS[1]]), "would be served as"),
        (page([[*ROWS[0][:2], "1700000000.12345671", *ROWS[0][3:]]]), "would be served as"),
        ('{"error":["EQuery:Unknown asset pair"]}', "must be a whole answer with a result"),
    ],
)
def test_what_could_not_be_served_again_text_for_text_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_page(text, NOTHING_LISTED)


def test_prices_finer_than_todays_listing_are_kept() -> None:
    listing = SandboxListing([pair_of("BTC/USD", pair_decimals=1, lot_decimals=8)])
    read = read_page(page([["1023.82219", *ROWS[0][1:]]]), listing)
    tape = tape_for(read.pair, read.rows)
    put(tape, read.rows)
    assert (tape.price_digits, list(tape.prices)) == (5, [102382219])


def test_quantities_finer_than_the_listing_are_refused() -> None:
    pair = pair_of("BTC/USD", pair_decimals=1, lot_decimals=5)
    rows = read_session([trade_frame(1)], SandboxListing([pair])).frames[0].rows["BTC/USD"]
    with pytest.raises(UsageError, match=r"quantity 0\.00185211, finer than the 5 digits"):
        put(tape_for(pair, rows), rows)


def test_a_session_keeps_its_frames_but_not_what_answered_its_client() -> None:
    heartbeat, book = '{"channel":"heartbeat"}', '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD"}]}'
    session = read_session(
        [
            '{"channel":"status","type":"update","data":[{}]}',
            '{"method":"subscribe","success":true}',
            trade_frame(5, type="snapshot"),
            heartbeat,
            book,
            trade_frame(6) + "\n",
        ],
        NOTHING_LISTED,
    )
    assert [frame.text for frame in session.frames] == [heartbeat, book, trade_frame(6)]
    assert [frame.symbols for frame in session.frames] == [set(), {"BTC/USD"}, {"BTC/USD"}]
    assert [row.trade_id for row in session.earlier["BTC/USD"]] == [5]
    assert [row.trade_id for row in session.frames[2].rows["BTC/USD"]] == [6]
    (pair,) = session.pairs
    assert pair.pair_decimals == 2


def test_frames_go_out_as_late_as_their_stamps_say_and_never_out_of_order() -> None:
    heartbeat = '{"channel":"heartbeat"}'
    lagging = '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","timestamp":"2026-07-07T23:00:05.5Z"}]}'
    session = read_session(
        [trade_frame(6), trade_frame(7, stamp="23:00:06.562702Z"), heartbeat, lagging], NOTHING_LISTED
    )
    assert [frame.offset_ns for frame in session.frames] == [0, 10**9, 10**9, 10**9]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (['{"channel":"heartbeat"}'], "tells of no trade"),
        ([trade_frame(1), trade_frame(3)], "go from 1 to 3"),
        ([trade_frame(1), trade_frame(2, stamp="22:00:00.000000Z")], "in order of time"),
    ],
)
def test_a_session_that_cannot_be_an_exchange_is_refused(lines: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_session(lines, NOTHING_LISTED)


def test_every_row_of_the_real_page_is_read_exactly(payloads: Path) -> None:
    listing = SandboxListing(read_listing((payloads / "rest/AssetPairs/XBTUSDT_2025-11.json").read_text()))
    text = (payloads / "rest/Trades/XBTUSDT_1000_2025-11-11.json").read_text()
    read = read_page(text, listing)
    originals = json.loads(text, parse_float=str)["result"]["XBTUSDT"]
    assert read.pair.symbol == "BTC/USDT"
    assert [(row.trade_id, row.price, row.qty) for row in read.rows] == [
        (row[6], Decimal(row[0]), Decimal(row[1])) for row in originals
    ]
    assert read.rows[-1].time_ns == 1762820035982277754


def test_every_frame_of_the_real_session_is_kept_verbatim(payloads: Path) -> None:
    path = payloads / "ws_v2/mixed/live_book10_trade_BTC-USD_ETH-USD_2026-07-07.jsonl"
    lines = path.read_text().splitlines()
    session = read_session(lines, NOTHING_LISTED)
    assert [frame.text for frame in session.frames] == lines[5:]
    assert session.symbols == {"BTC/USD", "ETH/USD"}
    ids = [row.trade_id for frame in session.frames for row in frame.rows.get("BTC/USD", ())]
    assert ids == list(range(103436768, 103436780))
    assert 20 * 10**9 < session.frames[-1].offset_ns < 25 * 10**9
