from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.core.report_limit import MOST, WINDOW_S, ReportLimit
from recorder.core.trade_ids import Span
from recorder.kraken import trade_frames
from recorder.kraken.channels import TRADES
from recorder.kraken.websocket_session import (
    REASON_LIMIT,
    PartialRows,
    Rejected,
    Session,
    StatusReport,
    Subscribed,
    TradeRows,
    UnknownFrame,
    UnreadableFrame,
)
from tests.kraken.session_scripts import (
    BTC,
    ETH,
    HEARTBEAT,
    RECEIVED_NS,
    XRP,
    ack,
    asks,
    drop,
    frame,
    has_trades,
    is_unreadable,
    leaves,
    opened,
    pings,
    play,
    refusal,
    rows_of,
    status,
    tick,
    trade_json,
    trades,
    unreadable,
)


def test_one_frame_becomes_its_rows_text_for_text() -> None:
    (effect,) = Session(TRADES, [BTC]).receive(trades(trade_json(7)).encode(), 1.0, received_ns=RECEIVED_NS)
    (row,) = rows_of(effect)
    time_us, received_us = 1_783_465_204_590_753, RECEIVED_NS // 1000
    assert row == Trade(
        BTC, 7, time_us, Decimal("63501.9"), Decimal("0.00004134"), "buy", "limit", "", "ws", received_us
    )
    assert (str(row.price), f"{row.qty:f}") == ("63501.9", "0.00004134")


def test_the_rows_of_a_snapshot_were_not_received_live() -> None:
    snapshot = trades(trade_json(7), kind="snapshot").encode()
    (effect,) = Session(TRADES, [BTC]).receive(snapshot, 1.0, received_ns=RECEIVED_NS)
    assert [row.received_us for row in rows_of(effect)] == [None]


def test_an_empty_snapshot_is_no_rows() -> None:
    assert play(Session(TRADES, [BTC])) >> trades(kind="snapshot") << has_trades()


def test_one_frame_may_mix_pairs_and_arrive_before_any_acknowledgement() -> None:
    script = play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH)
    script >> trades(trade_json(7), trade_json(9, ETH), trade_json(8))
    assert script << has_trades((BTC, 7), (ETH, 9), (BTC, 8))


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"update","channel":"trade","data":[%s]}',
        '{"data":[%s],"type":"update","channel":"trade"}',
        '{ "channel" : "trade", "type" : "update", "data" : [ %s ] }',
        '{"channel":"trade","sequence":5,"type":"update","timestamp":"2026-07-07T23:00:04Z","data":[%s],"more":{"x":[]}}',
        '{"channel":"trade","type":"correction","data":[%s]}',
    ],
)
def test_key_order_space_and_new_fields_are_krakens_to_change(text: str) -> None:
    row = trade_json(7, liquidity='{"new":["field"]}')
    backwards = json.dumps(dict(reversed(json.loads(trade_json(8)).items())))
    assert play(Session(TRADES, [BTC])) >> text % f"{row},{backwards}" << has_trades((BTC, 7), (BTC, 8))


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({"trade_id": "0"}, "trade_id"),
        ({"trade_id": "-1"}, "trade_id"),
        ({"trade_id": "9223372036854775808"}, "trade_id"),
        ({"trade_id": "1.5"}, "trade_id"),
        ({"trade_id": '"7"'}, "trade_id"),
        ({"price": "0.0000000000001"}, "does not fit the archive's decimal128(28, 12)"),
        ({"qty": "0.000000001"}, "does not fit the archive's decimal128(28, 12) and decimal128(28, 8)"),
        ({"price": "12345678901234567"}, "does not fit"),
        ({"price": '"NaN"'}, "does not fit"),
        ({"qty": '"Infinity"'}, "does not fit"),
        ({"price": "1e999"}, "does not fit"),
        ({"price": "true"}, "price"),
        ({"price": "null"}, "price"),
        ({"side": '"hold"'}, "side"),
        ({"timestamp": '""'}, "'' is not a UTC time"),
        ({"timestamp": '"yesterday"'}, "'yesterday' is not a UTC time like 2026-07-07T23:00:05.562702Z"),
        ({"timestamp": '"2026-02-30T00:00:00.000000Z"'}, "day is out of range"),
        ({"symbol": "5"}, "symbol"),
        ({"symbol": '""'}, "symbol"),
        ({"symbol": f'"{"x" * 65}"'}, "symbol"),
        ({"symbol": f'"{"Ç" * 40}"'}, "is no name of a pair"),
        ({"price": "-1.5"}, "is below zero"),
        ({"qty": "-0.00000001"}, "is below zero"),
        ({"ord_type": '""'}, "ord_type"),
        ({"ord_type": "null"}, "ord_type"),
    ],
)
def test_one_odd_row_costs_itself_and_of_a_frame_of_such_rows_nothing_is_claimed(
    fields: dict[str, str], because: str
) -> None:
    for rows in ([trade_json(7), trade_json(8, **fields)], [trade_json(8, **fields), trade_json(7)]):
        (effect,) = Session(TRADES, [BTC]).receive(trades(*rows).encode(), 1.0, received_ns=1)
        assert isinstance(effect, PartialRows)
        assert [run.span for run in effect.runs] == [Span(7, 7)]
        (odd,) = effect.odd
        assert odd.raw.decode() in rows
        assert because in odd.reason
    script = play(Session(TRADES, [BTC])) >> trades(trade_json(8, **fields)) << unreadable
    assert script << is_unreadable(because)


@pytest.mark.parametrize("missing", ["symbol", "side", "price", "qty", "ord_type", "trade_id", "timestamp"])
def test_a_row_without_a_field_is_unreadable_and_says_which(missing: str) -> None:
    row = json.loads(trade_json(7))
    del row[missing]
    assert play(Session(TRADES, [BTC])) >> trades(json.dumps(row)) << unreadable << is_unreadable(missing)


def test_numbers_with_an_exponent_are_as_exact_as_any() -> None:
    row = trade_json(7, price="2.926e-06", qty="3.8E+8")
    (effect,) = Session(TRADES, [BTC]).receive(trades(row).encode(), 1.0, received_ns=1)
    (read,) = rows_of(effect)
    assert (read.price, read.qty) == (Decimal("0.000002926"), Decimal(380000000))


def test_a_new_kind_of_order_is_kept_as_it_came() -> None:
    (effect,) = Session(TRADES, [BTC]).receive(trades(trade_json(7, ord_type='"iceberg"')).encode(), 1.0, received_ns=1)
    assert rows_of(effect)[0].ord_type == "iceberg"


def test_ten_real_trade_frames_among_three_thousand_become_rows_and_book_frames_do_not(payloads: Path) -> None:
    lines = (payloads / "ws_v2/mixed/live_book10_trade_BTC-USD_ETH-USD_2026-07-07.jsonl").read_bytes().splitlines()
    assert len(lines) == 3000
    session, rows, effects = Session(TRADES, [BTC, ETH]), [], []
    session.opened(0.0)
    for number, line in enumerate(lines):
        for effect in session.receive(line, float(number), received_ns=RECEIVED_NS):
            if isinstance(effect, TradeRows):
                rows.append((line, effect))
            else:
                effects.append(effect)
    assert len(rows) == 10
    for line, effect in rows:
        expected = json.loads(line, parse_float=str, parse_int=str)["data"]
        assert [as_wire(row) for row in rows_of(effect)] == expected
    arrived = [(row.pair, row.trade_id) for _, effect in rows for row in rows_of(effect)]
    assert [number for pair, number in arrived if pair == BTC] == list(range(103436768, 103436780))
    assert [number for pair, number in arrived if pair == ETH] == list(range(64175815, 64175820))
    unknown = [effect for effect in effects if isinstance(effect, UnreadableFrame)]
    assert unknown == [UnreadableFrame("a frame of an unknown kind: channel book")] * MOST
    assert [effect for effect in effects if not isinstance(effect, UnknownFrame | UnreadableFrame)] == [
        StatusReport("online", 4421894013101914413),
        Subscribed(BTC, 1783465203515033),
        Subscribed(ETH, 1783465203515033),
    ]


def as_wire(row: Trade) -> dict[str, str]:
    """Spell a row as it stood on the wire."""
    seconds, micros = divmod(row.time_us, 1_000_000)
    day, second = divmod(seconds, 86400)
    assert day == 20641  # 2026-07-07
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return {
        "symbol": row.pair,
        "side": row.side,
        "price": f"{row.price:f}",
        "qty": f"{row.qty:f}",
        "ord_type": row.ord_type,
        "trade_id": str(row.trade_id),
        "timestamp": f"2026-07-07T{clock}.{micros:06}Z",
    }


def test_every_banner_ever_seen_is_a_status(payloads: Path) -> None:
    for line in (payloads / "ws_v2/status/connect_banners_live.jsonl").read_bytes().splitlines():
        number = json.loads(line)["data"][0]["connection_id"]
        assert play(Session(TRADES, [BTC])) >> line << status << StatusReport("online", number)


@pytest.mark.parametrize("word", ["online", "maintenance", "cancel_only", "post_only", "limit_only", "half_asleep"])
def test_a_status_is_passed_on_whatever_its_word(word: str) -> None:
    banner = frame(channel="status", type="update", data=[{"system": word, "emergency": [{"new": 1}]}])
    assert play(Session(TRADES, [BTC])) >> banner << status << StatusReport(word, None, [], [{"new": 1}])


def test_a_status_carries_what_is_announced_as_it_came() -> None:
    planned = {"event_id": 7, "title": "upgrade", "affected_services": ["spot_trading"], "time_to_start_s": 1800}
    data = [{"system": "online", "connection_id": 5, "upcoming_maintenance": [planned], "emergency": []}]
    banner = frame(channel="status", type="update", data=data)
    assert play(Session(TRADES, [BTC])) >> banner << status << StatusReport("online", 5, [planned], [])


@pytest.mark.parametrize("nothing", ["null", "[]", "5", '"none"', "{}", "[null,5]"])
def test_nulls_and_oddities_in_a_status_are_passed_over(nothing: str) -> None:
    fields = f'"system":"maintenance","connection_id":{nothing},"upcoming_maintenance":{nothing},"emergency":{nothing}'
    banner = f'{{"channel":"status","req_id":"x","type":null,"data":[{{{fields},"new":{nothing}}}]}}'
    number = 5 if nothing == "5" else None
    assert play(Session(TRADES, [BTC])) >> banner << status << StatusReport("maintenance", number, [], [])
    beside = banner.replace('"data":[', '"data":[null,5,{},')
    assert play(Session(TRADES, [BTC])) >> beside << status << StatusReport("maintenance", number, [], [])
    alone = banner.replace('"data":[', '"data":').replace("}]}", "}}")
    assert play(Session(TRADES, [BTC])) >> alone << status << StatusReport("maintenance", number, [], [])


@pytest.mark.parametrize("data", ["", ',"data":null', ',"data":{}', ',"data":[{}]', ',"data":[{"system":5}]'])
def test_a_status_that_cannot_be_read_is_kept_and_reported(data: str) -> None:
    banner = f'{{"channel":"status","type":"update"{data}}}'
    assert play(Session(TRADES, [BTC])) >> banner << status << is_unreadable("a status frame that cannot be read")


@pytest.mark.parametrize(
    "text",
    [
        HEARTBEAT,
        '{"channel":"heartbeat","new":[5],"method":null,"error":null}',
        frame(method="pong", req_id=1, time_in="x", time_out="y"),
        frame(method="pong", req_id="one", error=None, warnings=["new"]),
    ],
)
def test_heartbeats_and_pongs_are_passed_over(text: str) -> None:
    assert play(Session(TRADES, [BTC])) >> text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"channel":"weather","data":{"symbol":"sun"}}', "channel weather"),
        ('{"channel":"trades","type":"update","data":[]}', "channel trades"),
        ('{"method":"dance","success":true}', "method dance"),
        ('{"Error":"Exceeded msg rate"}', "keys Error"),
        ('{"event":"error","errorMessage":"x"}', "keys errorMessage, event"),
        ('{"channel":5,"data":[]}', "keys channel, data"),
        ('{"channel":null}', "keys channel"),
        ("{}", "no keys"),
        (b'{"\x80":1}', "keys that are no text"),
        ("[1,2]", "cannot be read"),
        ("upstream timed out", "cannot be read"),
    ],
)
def test_what_nobody_knows_is_kept_and_told_the_first_times_and_then_counted(text: str | bytes, kind: str) -> None:
    script = play(Session(TRADES, [])) >> opened
    for _ in range(MOST):
        script >> text << unreadable << is_unreadable(kind)
    script >> text >> text
    script >> '{"another":1}' << unreadable << is_unreadable("keys another")
    for _ in range(int(WINDOW_S) // 5 - 1):
        script >> tick(5) << pings() >> frame(method="pong", req_id=1)
    assert script >> tick(5) << pings() << is_unreadable("2 more frames were counted and not stored: ")


def test_connections_share_the_count_of_what_nobody_knows() -> None:
    limit = ReportLimit()
    sessions = [Session(TRADES, [BTC], limit=limit) for _ in range(MOST + 1)]
    told = [session.receive(b'{"Error":"Exceeded msg rate"}', 1.0, received_ns=1) for session in sessions]
    assert [len(effects) for effects in told] == [2] * MOST + [0]


def test_rows_of_a_symbol_that_was_never_asked_for_are_kept_and_told_and_are_no_rows() -> None:
    text = trades(trade_json(7, ETH))
    for spelt in (text, text.replace('{"channel":"trade","type":"update"', '{"type":"update","channel":"trade"')):
        script = play(Session(TRADES, [BTC])) >> spelt
        assert script << unreadable << is_unreadable("rows of ETH/USD, which was not requested")


def test_of_a_frame_with_rows_that_nobody_asked_for_the_others_are_taken_byte_for_byte() -> None:
    ours, theirs = trade_json(7, qty="0.10000000"), trade_json(9, ETH)
    script = play(Session(TRADES, [BTC])) >> trades(ours, theirs, trade_json(8), trade_json(5, XRP), kind="snapshot")
    script << unreadable << is_unreadable("rows of ETH/USD") << unreadable << is_unreadable("rows of XRP/USD")
    left = trades(ours, trade_json(8), kind="snapshot").encode()
    assert script << TradeRows(trade_frames.parse_runs(left), left, RECEIVED_NS)


def test_rows_of_requested_or_left_pairs_count_and_all_others_are_reported() -> None:
    script = play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH) >> drop(ETH) << leaves(ETH)
    script >> trades(trade_json(9, ETH)) << has_trades((ETH, 9))
    assert script >> trades(trade_json(9, "btc/usd")) << unreadable << is_unreadable("rows of btc/usd")


@pytest.mark.parametrize(
    "text", ['{"channel":"trade","type":"update","data":null}', '{"channel":"trade","type":null,"data":[]}']
)
def test_a_null_in_the_place_of_rows_is_no_row(text: str) -> None:
    assert play(Session(TRADES, [BTC])) >> text << has_trades()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b"[1,2]",
        b"5",
        b"null",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b'{"channel":"\xff"}',
        b'{"channel":' + b"[" * 100_000,
        b'{"data":' + b"[" * 100_000,
        b'{"channel":"trade","type":"update","data":' + b"[" * 100_000,
        b'{"channel":"trade","type":"update","data":[',
        b'{"channel":"trade","type":"update"}',
        b'{"channel":"trade","type":"update","data":[{"symbol":"\xff"}]}',
        b'{"type":"update","channel":"trade","data":5}',
    ],
)
def test_what_cannot_be_read_is_kept_and_reported(text: bytes) -> None:
    assert play(Session(TRADES, [BTC])) >> text << unreadable << is_unreadable("cannot be read")


@pytest.mark.parametrize(
    "text",
    [
        trades(trade_json(7, price="1" * 5000)),
        trades(trade_json(7, timestamp='"' + "x" * 5000 + '"')),
        frame(error="x" * 5000),
        refusal("x" * 5000, symbol=BTC),
    ],
)
def test_a_reason_stays_short_whatever_the_frame_holds(text: str) -> None:
    reasons = [
        effect.reason
        for effect in Session(TRADES, [BTC]).receive(text.encode(), 1.0, received_ns=1)
        if isinstance(effect, UnreadableFrame | Rejected)
    ]
    (reason,) = reasons
    assert 0 < len(reason) <= REASON_LIMIT


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(
    [
        *("channel", "type", "method", "success", "error", "symbol", "req_id", "result", "data"),
        *("subscribe", "pong", "status", "trade", "heartbeat", "Already subscribed", BTC, ETH, "update", "snapshot"),
        *("side", "price", "qty", "ord_type", "trade_id", "timestamp", "system", "connection_id", "buy"),
    ]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=9),
    max_leaves=12,
)
MESSAGES = st.dictionaries(WORDS, VALUES, max_size=9).map(lambda content: json.dumps(content).encode())
REAL = [
    trades(trade_json(7), trade_json(9, ETH)).encode(),
    ack(BTC, req_id=1).encode(),
    refusal("Currency pair not supported ETH/USD", symbol=ETH).encode(),
    frame(channel="status", type="update", data=[{"system": "online", "connection_id": 2**64 - 1}]).encode(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = start + draw(st.integers(0, 6))
        text[start:stop] = draw(st.binary(max_size=6) | st.sampled_from([b"9" * 40, b'"', b"["]))
    return bytes(text)


@given(st.lists(st.binary(max_size=200) | MESSAGES | damaged() | st.sampled_from(REAL), max_size=12))
def test_no_bytes_make_it_raise_and_what_is_not_understood_is_kept(frames: list[bytes]) -> None:
    session, now_s = Session(TRADES, [BTC, ETH]), 0.0
    session.opened(now_s)
    for text in frames:
        now_s += 1.5
        effects = session.receive(text, now_s, received_ns=RECEIVED_NS)
        if any(isinstance(effect, UnreadableFrame) for effect in effects):
            assert isinstance(effects[0], UnknownFrame)
        session.tick(now_s)
        assert session.subscribed <= {BTC, ETH}
