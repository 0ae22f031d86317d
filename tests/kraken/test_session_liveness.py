from __future__ import annotations

import pytest

from recorder.kraken.channels import TRADES
from recorder.kraken.websocket_session import IDLE_S, PING_AFTER_S, Effect, Hangup, Send, Session
from tests.kraken.session_scripts import (
    BTC,
    ETH,
    HEARTBEAT,
    ack,
    add,
    answer,
    asks,
    drop,
    frame,
    goodbye,
    hangs_up,
    is_rejected,
    leaves,
    opened,
    pings,
    play,
    pong,
    refusal,
    stands,
    subscribed,
    tick,
    trade_json,
    trades,
)


def test_a_line_that_answers_pings_and_delivers_nothing_is_left() -> None:
    script = subscribed(BTC) >> tick(PING_AFTER_S) << pings() >> pong()
    assert script >> tick(IDLE_S - PING_AFTER_S) << hangs_up("no data or heartbeat for 8 s")
    assert script.session.heard_s == script.now_s - IDLE_S


@pytest.mark.parametrize(
    "text",
    [
        pong(),
        "{}",
        "not json",
        '{"channel":"book","type":"update","data":[]}',
        '{"channel":"status","type":"update","data":[{"system":"online"}]}',
        ack(BTC),
        ack(ETH),
        goodbye(ETH),
        refusal("Already subscribed", symbol=BTC),
        refusal("Subscription Not Found", symbol=ETH),
        frame(channel="trade", error="ESession:Invalid session", method="subscribe", success=False),
    ],
)
def test_while_subscribed_only_data_and_heartbeats_are_signs_of_life(text: str) -> None:
    session = subscribed(BTC).session
    heard_s = session.heard_s
    session.receive(text.encode(), heard_s + IDLE_S - 1, received_ns=1)
    assert session.heard_s == heard_s
    assert any(isinstance(effect, Hangup) for effect in session.tick(heard_s + IDLE_S))


@pytest.mark.parametrize(
    "text",
    [
        HEARTBEAT,
        '{ "channel" : "heartbeat" }',
        trades(trade_json(5)),
        trades(trade_json(5, ETH)),
        trades(kind="snapshot"),
        '{"type":"update","channel":"trade","data":[]}',
        trades(trade_json(5))[:-20],
        trades(trade_json(5, price='"odd"')),
        '{"type":"update","channel":"trade","data":5}',
    ],
)
def test_while_subscribed_data_and_heartbeats_are_signs_of_life(
    text: str,
) -> None:
    session = subscribed(BTC).session
    at_s = session.heard_s + IDLE_S - 1
    session.receive(text.encode(), at_s, received_ns=1)
    assert session.heard_s == at_s
    assert not session.tick(at_s)


def test_a_pong_keeps_a_line_on_which_no_subscription_stands() -> None:
    refused = play(Session(TRADES, [BTC])) >> opened << asks(BTC)
    refused >> refusal("Currency pair not supported", symbol=BTC) << answer << is_rejected(BTC, "not supported")
    left = subscribed(BTC) >> drop(BTC) << leaves(BTC) >> goodbye(BTC) << answer
    for script in (play(Session(TRADES, [])) >> opened, refused, left):
        for _ in range(100):
            script >> tick(PING_AFTER_S) << pings() >> pong()
        assert script


def test_a_line_on_which_no_subscription_stands_is_left_when_pings_are_not_answered() -> None:
    script = play(Session(TRADES, [])) >> opened >> tick(PING_AFTER_S) << pings()
    assert script >> tick(IDLE_S - PING_AFTER_S) << hangs_up("no frame for 8 s")


def test_one_pair_that_stands_among_refused_ones_is_enough_to_expect_heartbeats() -> None:
    script = play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH) >> ack(BTC) << answer << stands(BTC)
    script >> refusal("no", symbol=ETH) << answer << is_rejected(ETH, "no")
    script >> tick(PING_AFTER_S) << pings() >> pong()
    assert script >> tick(IDLE_S - PING_AFTER_S) << hangs_up("no data or heartbeat")


def test_a_line_serves_once_something_is_delivered_or_where_nothing_is_due() -> None:
    for text in (HEARTBEAT, trades(trade_json(5)), trades(trade_json(5))[:-20]):
        script = subscribed(BTC) >> tick(1)
        assert not script.session.serves
        script.session.receive(pong().encode(), script.now_s, received_ns=1)
        assert not script.session.serves
        script.session.receive(text.encode(), script.now_s, received_ns=1)
        assert script.session.serves
    script = play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH)
    assert not script.session.serves
    script >> refusal("no", symbol=ETH) << answer << is_rejected(ETH, "no")
    assert script.session.serves
    script >> ack(BTC) << answer << stands(BTC)
    assert not script.session.serves


def test_while_resubscribing_the_only_pair_answers_are_signs_of_life() -> None:
    script = subscribed(BTC) >> tick(3) >> drop(BTC) << leaves(BTC) >> add(BTC) << asks(BTC)
    script >> tick(2) << pings() >> goodbye(BTC) << answer >> ack(BTC) << answer << stands(BTC)
    assert script.session.heard_s == script.now_s
    assert script >> tick(PING_AFTER_S) << pings() >> pong() >> tick(IDLE_S - PING_AFTER_S) << hangs_up("no data")


def test_heartbeats_keep_a_line_without_pings() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> ack(BTC) << answer << stands(BTC)
    for _ in range(100):
        script >> tick(1) >> HEARTBEAT
    assert script


def test_a_silent_line_is_left_within_ten_seconds_of_its_last_frame_and_pinged_before() -> None:
    for phase in (0.0, 0.3, 0.999):
        script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> ack(BTC) << answer << stands(BTC)
        assert script >> tick(phase)
        last_frame_s = script.now_s - phase
        session = script.session
        seen: list[Effect] = []
        while not any(isinstance(effect, Hangup) for effect in seen):
            script.now_s += 1
            seen += session.tick(script.now_s)
        assert isinstance(seen[0], Send)
        assert script.now_s - last_frame_s <= 10


def test_without_a_subscription_any_frame_renews_the_deadline() -> None:
    for text in (HEARTBEAT, trades(trade_json(5)), "not json", '{"channel":"book"}', pong()):
        for pairs in ([], [BTC]):
            session = Session(TRADES, pairs)
            session.opened(55.0)
            session.receive(text.encode(), 60.0, received_ns=1)
            assert not [effect for effect in session.tick(60.0 + IDLE_S - 0.1) if isinstance(effect, Hangup)]
            assert play(session, now_s=60.0) >> tick(IDLE_S) << hangs_up("no frame for 8 s")
