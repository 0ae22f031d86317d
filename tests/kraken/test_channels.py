"""A channel is data: a session is for any one of them, and knows none by itself."""

from __future__ import annotations

import json

from recorder.core.trade_ids import Run, Span
from recorder.errors import Malformed
from recorder.kraken import trade_frames
from recorder.kraken.channels import TRADES, Channel
from recorder.kraken.websocket_session import Send, Session, TradeRows
from tests.kraken.session_scripts import (
    RECEIVED_NS,
    ack,
    answer,
    is_unreadable,
    play,
    stands,
    trade_json,
    trades,
    unreadable,
)

BTC = "BTC/USD"


def readable(frame: bytes) -> list[Run]:
    """A parser of rows without ids: nothing is claimed."""
    if b'"data":[' not in frame:
        raise Malformed("a weather frame without data")
    return []


WEATHER = Channel(
    name="weather", claims=readable, only=lambda frame, _: frame, snapshot=False, params={"event_trigger": "rain"}
)


def test_trades_are_asked_for_with_their_snapshot_and_nothing_else() -> None:
    assert TRADES.subscription([BTC]) == {"channel": "trade", "symbol": [BTC], "snapshot": True}
    assert TRADES.end([BTC]) == {"channel": "trade", "symbol": [BTC]}


def test_a_trade_frame_claims_the_runs_of_its_ids() -> None:
    frame = trades(trade_json(7), trade_json(8), trade_json(11)).encode()
    assert frame.startswith(TRADES.prefix)
    assert [(run.pair, run.span) for run in TRADES.claims(frame)] == [(BTC, Span(7, 8)), (BTC, Span(11, 11))]
    assert TRADES.claims(frame) == trade_frames.parse_runs(frame)


def test_a_session_asks_for_its_channel_with_its_parameters_and_ends_it_with_them() -> None:
    session = Session(WEATHER, [BTC])
    sent = [*session.opened(0.0), *session.drop([BTC])]
    assert [json.loads(effect.text)["params"] for effect in sent if isinstance(effect, Send)] == [
        {"channel": "weather", "event_trigger": "rain", "symbol": [BTC], "snapshot": False},
        {"channel": "weather", "event_trigger": "rain", "symbol": [BTC]},
    ]


def test_a_session_takes_the_frames_of_its_channel_and_keeps_those_of_others() -> None:
    session = Session(WEATHER, [BTC])
    session.opened(0.0)
    script = play(session)
    script >> ack(BTC) << answer >> ack(BTC, channel="weather") << answer << stands(BTC)
    script >> trades(trade_json(7)) << unreadable << is_unreadable("a frame of an unknown kind: channel trade")
    for text in ('{"channel":"weather","data":[]}', '{"data":[],"channel":"weather"}'):
        script >> text << TradeRows([], text.encode(), RECEIVED_NS)
    assert script >> '{"channel":"weather"}' << unreadable << is_unreadable("a weather frame without data")


def test_data_of_another_channel_is_no_sign_of_life() -> None:
    session = Session(WEATHER, [BTC])
    session.opened(0.0)
    play(session, now_s=0.0) >> ack(BTC, channel="weather") << answer << stands(BTC)
    session.receive(trades(trade_json(7)).encode(), 5.0, received_ns=1)
    assert session.heard_s == 0.0
