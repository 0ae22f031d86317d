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
from recorder.kraken.subscriptions import ACK_S, FIRST_WAIT_S
from recorder.kraken.websocket_session import (
    IDLE_S,
    PING_AFTER_S,
    REASON_LIMIT,
    SUBSCRIBE_BATCH,
    Effect,
    Hangup,
    PartialRows,
    Rejected,
    Send,
    Session,
    StatusReport,
    Subscribed,
    TradeRows,
    UnknownFrame,
    UnreadableFrame,
)
from tests.kraken.playbook import (
    RECEIVED_NS,
    ack,
    add,
    answer,
    asks,
    drop,
    frame,
    goodbye,
    hangs_up,
    has_trades,
    is_rejected,
    is_unreadable,
    leaves,
    opened,
    pings,
    play,
    puts_off,
    refusal,
    rows_of,
    stands,
    status,
    tick,
    trade_json,
    trades,
    unreadable,
)

HEARTBEAT = '{"channel":"heartbeat"}'
BTC, ETH, XRP = "BTC/USD", "ETH/USD", "XRP/USD"


def sent_ids(session: Session) -> list[int]:
    return [req_id for _, req_id in session._asking.pending()]


# -- asking ---------------------------------------------------------------------------------------------------------


def test_it_asks_for_all_pairs_at_once_with_the_snapshot() -> None:
    assert play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH)


def test_it_asks_in_batches_of_a_hundred() -> None:
    pairs = [f"A{number}/USD" for number in range(2 * SUBSCRIBE_BATCH + 1)]
    script = play(Session(TRADES, pairs)) >> opened
    script << asks(*pairs[:100]) << asks(*pairs[100:200])
    assert script << asks(pairs[200])


def test_every_message_has_a_number_of_its_own() -> None:
    effects = Session(TRADES, [BTC, ETH, XRP], batch=1).opened(0.0)
    numbers = [json.loads(effect.text)["req_id"] for effect in effects if isinstance(effect, Send)]
    assert len(set(numbers)) == 3


def test_it_has_nothing_to_ask_without_pairs_and_counts_as_settled() -> None:
    session = Session(TRADES, [])
    assert play(session) >> opened
    assert session.settled


# -- answers --------------------------------------------------------------------------------------------------------


def test_each_pair_is_acknowledged_by_itself() -> None:
    session = Session(TRADES, [BTC, ETH])
    script = play(session) >> opened << asks(BTC, ETH)
    script >> ack(ETH, req_id=1) << answer << stands(ETH)
    assert not session.settled
    assert script >> ack(BTC, req_id=1) << answer << stands(BTC)
    assert session.settled
    assert session.subscribed == {BTC, ETH}


def test_an_acknowledgement_needs_no_req_id_and_may_warn() -> None:
    result = {"channel": "trade", "snapshot": True, "symbol": BTC, "warnings": ["snapshot is deprecated"]}
    warned = frame(method="subscribe", result=result, success=True)
    assert play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> warned << answer << Subscribed(BTC)


def test_empty_fields_may_be_null() -> None:
    nulls = ack(BTC, req_id=None, error=None, symbol=None, channel_id=None)
    assert play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> nulls << answer << stands(BTC)


def test_a_second_acknowledgement_says_nothing_new() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> ack(BTC) << answer << stands(BTC)
    assert script >> ack(BTC) << answer


def test_an_acknowledgement_of_another_channel_is_not_ours() -> None:
    session = Session(TRADES, [BTC])
    assert play(session) >> opened << asks(BTC) >> ack(BTC, channel="book") << answer
    assert session.subscribed == set()
    assert not session.settled


def test_an_acknowledgement_of_a_pair_we_did_not_ask_for_is_passed_over() -> None:
    assert play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> ack(ETH) << answer


@pytest.mark.parametrize("bad", ['"result":[],', '"result":{"channel":5},', '"result":{},', ""])
def test_an_acknowledgement_that_cannot_be_read_is_kept_and_reported(bad: str) -> None:
    text = f'{{"method":"subscribe",{bad}"success":true}}'
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> text << answer
    assert script << is_unreadable("an acknowledgement that cannot be read")


def test_an_answer_that_says_neither_yes_nor_why_not_is_reported() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> '{"method":"subscribe"}' << answer
    assert script << is_unreadable("neither success nor error")


# -- refusals -------------------------------------------------------------------------------------------------------


def test_a_refusal_that_names_its_pair_refuses_that_pair_only() -> None:
    session = Session(TRADES, [BTC, "XBT/USD"])
    no = refusal("Currency pair not supported XBT/USD", symbol="XBT/USD", req_id=1)
    script = play(session) >> opened << asks(BTC, "XBT/USD") >> no << answer
    script << is_rejected("XBT/USD", "Currency pair not supported XBT/USD")
    assert script >> ack(BTC) << answer << stands(BTC)
    assert session.rejected == {"XBT/USD": "Currency pair not supported XBT/USD"}
    assert session.settled


def test_a_refusal_without_a_symbol_is_known_by_the_pair_its_text_ends_with() -> None:
    for more in ({}, {"req_id": 1}, {"req_id": 77}):
        no = refusal("Currency pair not in ISO 4217-A3 format XBTUSD", **more)
        script = play(Session(TRADES, [BTC, "XBTUSD"])) >> opened << asks(BTC, "XBTUSD") >> no << answer
        assert script << is_rejected("XBTUSD", "ISO 4217-A3")


def test_a_refusal_without_a_symbol_is_known_by_the_number_of_a_message_that_asked_for_one() -> None:
    session = Session(TRADES, [BTC, ETH], batch=1)
    script = play(session) >> opened << asks(BTC) << asks(ETH)
    _, number = sent_ids(session)
    assert script >> refusal("Subscription not possible", req_id=number) << answer << is_rejected(ETH, "not possible")


def test_a_refusal_that_could_mean_any_pair_of_its_message_puts_all_of_them_off() -> None:
    session = Session(TRADES, [BTC, ETH, XRP], batch=2)
    endpoint = "Public market data subscriptions are unavailable on this endpoint. Try ws.kraken.com"
    script = play(session) >> opened << asks(BTC, ETH) << asks(XRP)
    script >> refusal(endpoint, req_id=1) << answer << Rejected((BTC, ETH), endpoint, FIRST_WAIT_S, 1)
    assert session.rejected == {BTC: endpoint, ETH: endpoint}
    script >> ack(XRP, req_id=2) << answer << stands(XRP)
    assert script >> ack(ETH, req_id=1) << answer << stands(ETH)  # it was not meant
    assert session.rejected == {BTC: endpoint}
    assert session.settled


def test_a_refusal_without_symbol_and_number_puts_off_all_that_is_asked_for() -> None:
    script = play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH) >> ack(ETH) << answer << stands(ETH)
    assert script >> refusal("Exceeded msg rate") << answer << puts_off(BTC, seconds=FIRST_WAIT_S)


def test_a_refusal_of_a_message_that_nobody_waits_for_refuses_nobody() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC)
    assert script >> refusal("Exceeded msg rate", req_id=77) << answer << is_rejected(None, "msg rate")


def test_already_subscribed_is_as_good_as_an_acknowledgement() -> None:
    session = Session(TRADES, [BTC])
    script = play(session) >> opened << asks(BTC)
    assert script >> refusal("Already subscribed", symbol=BTC) << answer << stands(BTC)
    assert session.subscribed == {BTC}


def test_already_subscribed_without_a_symbol_is_known_by_its_number() -> None:
    session = Session(TRADES, [BTC])
    script = play(session) >> opened << asks(BTC)
    assert script >> refusal("Already subscribed", req_id=1) << answer << stands(BTC)


def test_already_subscribed_that_could_mean_any_pair_means_none() -> None:
    session = Session(TRADES, [BTC, ETH])
    assert play(session) >> opened << asks(BTC, ETH) >> refusal("Already subscribed", req_id=1) << answer
    assert session.subscribed == set()


def test_a_refusal_of_the_trade_channel_that_begins_like_a_trade_frame_is_a_refusal() -> None:
    no = frame(channel="trade", error="ESession:Invalid session", method="subscribe", status="error", success=False)
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> no << answer
    assert script << is_rejected(BTC, "ESession:Invalid session")


def test_an_error_to_something_else_is_kept_and_reported() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC)
    script >> '{"error":"Unsupported method","success":false}' << answer << is_unreadable("Unsupported method")
    assert script >> frame(method="pong", error="no") << answer << is_unreadable("did not ask: no")


def test_every_refusal_ever_seen_is_understood(payloads: Path) -> None:
    for line in (payloads / "ws_v2/errors/subscribe_errors_live.jsonl").read_bytes().splitlines():
        said = json.loads(line)
        script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> line << answer
        assert script << is_rejected(said.get("symbol", BTC), said["error"])


PASSING = "EGeneral:Too many requests"


def test_a_pair_that_is_not_there_is_not_asked_for_again_on_this_connection() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC)
    no = "Currency pair not supported BTC/USD"
    script >> refusal(no, symbol=BTC) << answer << Rejected((BTC,), no)
    for _ in range(300):
        script >> tick(PING_AFTER_S) << pings() >> pong()
    assert script


@pytest.mark.parametrize("named", [True, False])
def test_a_pair_that_is_refused_for_any_other_reason_is_asked_for_again_ever_later_until_it_is_granted(
    *, named: bool
) -> None:
    session = Session(TRADES, [BTC, ETH])
    script = play(session) >> opened << asks(BTC, ETH) >> ack(ETH) << answer << stands(ETH)
    waits_s = []
    for req_id in range(1, 9):
        who = {"symbol": BTC} if named else {"req_id": req_id}
        effects = session.receive(refusal(PASSING, **who).encode(), script.now_s, received_ns=1)
        refused_s = script.now_s
        assert isinstance(effects[1], Rejected)
        assert (effects[1].pairs, effects[1].times, effects[1].for_good) == ((BTC,), req_id, False)
        while not (sent := [effect for effect in session.tick(script.now_s) if isinstance(effect, Send)]):
            script.now_s += 1
            script >> HEARTBEAT
        assert json.loads(sent[0].text)["params"]["symbol"] == [BTC]
        assert script.now_s - refused_s == effects[1].retry_s
        waits_s.append(script.now_s - refused_s)
    assert waits_s == [5, 10, 20, 40, 80, 160, 300, 300]
    assert script >> ack(BTC) << answer << stands(BTC)
    assert session.rejected == {}
    script >> refusal(PASSING, symbol=BTC) << answer
    assert script << puts_off(BTC, seconds=FIRST_WAIT_S)


def test_a_late_grant_of_a_pair_that_waits_counts_and_it_is_left_with_a_word() -> None:
    session = Session(TRADES, [BTC, ETH])
    script = play(session) >> opened << asks(BTC, ETH)
    script >> refusal(PASSING, req_id=1) << answer << puts_off(BTC, ETH, seconds=FIRST_WAIT_S)
    script >> ack(BTC, req_id=1) << answer << stands(BTC)
    assert script >> drop(BTC, ETH) << leaves(BTC, ETH)  # the other one may be granted as well


# -- pairs that come and go -----------------------------------------------------------------------------------------


def test_a_pair_that_comes_is_asked_for_at_once_and_acknowledged_like_any() -> None:
    session = Session(TRADES, [BTC])
    script = play(session) >> opened << asks(BTC) >> ack(BTC) << answer << stands(BTC)
    script >> add(ETH, XRP, BTC) << asks(ETH, XRP)
    assert not session.settled
    script >> ack(XRP, req_id=2) << answer << stands(XRP)
    assert script >> ack(ETH, req_id=2) << answer << stands(ETH)
    assert session.subscribed == set(session.pairs) == {BTC, ETH, XRP}


def test_pairs_come_and_go_in_batches() -> None:
    many = [f"A{number}/USD" for number in range(SUBSCRIBE_BATCH + 1)]
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> add(*many) << asks(*many[:-1]) << asks(many[-1])
    assert script >> drop(*many) << leaves(*many[:-1]) << leaves(many[-1])


def test_a_pair_that_comes_before_the_line_is_open_is_asked_for_with_the_others_and_one_that_goes_is_not() -> None:
    script = play(Session(TRADES, [BTC, ETH])) >> add(XRP) >> drop(BTC)
    assert script >> opened << asks(ETH, XRP)


def test_pairs_that_come_and_are_not_answered_are_asked_for_again_one_message_a_tick() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> ack(BTC) << answer << stands(BTC)
    script >> tick(1) >> add(ETH, XRP) << asks(ETH, XRP)
    script.now_s += ACK_S - 1
    script >> HEARTBEAT >> tick(0) >> HEARTBEAT
    assert script >> tick(1) << asks(ETH) >> tick(1) << asks(XRP)


def test_a_pair_that_comes_may_be_refused() -> None:
    script = play(Session(TRADES, [])) >> opened >> add(ETH) << asks(ETH)
    assert script >> refusal("Currency pair not supported ETH/USD", symbol=ETH) << answer << is_rejected(ETH, "not")


def test_a_pair_that_goes_is_left_and_its_last_trades_are_rows_all_the_same() -> None:
    session = Session(TRADES, [BTC, ETH])
    script = play(session) >> opened << asks(BTC, ETH) >> ack(ETH) << answer << stands(ETH)
    script >> drop(ETH, "NO/NE") << leaves(ETH)
    script >> trades(trade_json(9, ETH)) << has_trades((ETH, 9))
    assert script >> goodbye(ETH, req_id=2) << answer >> goodbye(ETH) << answer
    assert session.subscribed == set()
    assert set(session.pairs) == {BTC}


def test_a_pair_that_goes_before_it_was_answered_is_not_waited_for_and_its_answer_says_nothing() -> None:
    session = Session(TRADES, [BTC])
    script = play(session) >> opened << asks(BTC) >> drop(BTC) << leaves(BTC)
    assert session.settled
    script >> ack(BTC, req_id=1) << answer
    script.now_s += 3 * ACK_S
    assert script >> HEARTBEAT >> tick(0)
    assert session.subscribed == set()


def test_a_pair_that_was_refused_is_forgotten_without_a_word() -> None:
    session = Session(TRADES, [BTC])
    script = play(session) >> opened << asks(BTC) >> refusal("no", symbol=BTC) << answer << is_rejected(BTC, "no")
    assert script >> drop(BTC) >> drop(BTC)
    assert session.rejected == {}


@pytest.mark.parametrize(
    "text",
    [
        refusal("Subscription Not Found", symbol=BTC, req_id=2),
        refusal("Subscription Not Found", symbol=BTC),
        refusal("Subscription Not Found"),
        refusal("Currency pair not supported BTC/USD", symbol=BTC, req_id=2),
        refusal("Currency pair not supported BTC/USD", req_id=2),
        refusal("Currency pair not supported BTC/USD", symbol=BTC, req_id=1),
        refusal("Currency pair not supported BTC/USD"),
        frame(error="Currency pair not supported BTC/USD", method="unsubscribe", success=False, symbol=BTC),
    ],
)
def test_that_there_was_nothing_to_end_is_no_refusal(text: str) -> None:
    session = Session(TRADES, [BTC])
    script = play(session) >> opened << asks(BTC) >> drop(BTC) << leaves(BTC)
    assert script >> text << answer
    assert session.rejected == {}


def test_a_pair_that_comes_back_is_asked_for_again_whatever_is_still_on_its_way() -> None:
    session = Session(TRADES, [BTC, ETH])
    script = play(session) >> opened << asks(BTC, ETH)
    script >> refusal("no", symbol=ETH) << answer << is_rejected(ETH, "no")
    script >> drop(BTC, ETH) << leaves(BTC) >> add(ETH, BTC) << asks(ETH, BTC)
    script >> refusal("Currency pair not supported BTC/USD", symbol=BTC, req_id=2) << answer
    script >> goodbye(BTC, req_id=2) << answer
    assert not session.settled
    script >> ack(BTC, req_id=3) << answer << stands(BTC)
    assert script >> refusal("Currency pair not supported ETH/USD", symbol=ETH) << answer << is_rejected(ETH, "not")
    assert session.subscribed == {BTC}


def test_a_pair_that_comes_back_may_be_refused() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC) >> drop(BTC) << leaves(BTC) >> add(BTC) << asks(BTC)
    no = refusal("Currency pair not supported BTC/USD", symbol=BTC, req_id=3)
    assert script >> no << answer << is_rejected(BTC, "not supported")


@given(st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from([BTC, ETH, XRP])), st.booleans()), max_size=12))
def test_whatever_comes_and_goes_it_ends_up_subscribed_to_exactly_its_pairs(
    steps: list[tuple[bool, set[str], bool]],
) -> None:
    session, exchange, now_s = Session(TRADES, [BTC], batch=2), Exchange(), 0.0
    exchange.take(session.opened(now_s))
    wanted = {BTC}
    for comes, symbols, answered in steps:
        now_s += 0.5
        effects = session.add(sorted(symbols), now_s) if comes else session.drop(sorted(symbols))
        wanted = wanted | symbols if comes else wanted - symbols
        exchange.take(effects)
        if answered:
            exchange.answer(session, now_s)
    exchange.answer(session, now_s)
    assert session.settled
    assert set(session.pairs) == session.subscribed == exchange.subscribed == wanted
    assert session.rejected == {}


class Exchange:
    """Answers in the order asked, as Kraken does, and later than it was asked."""

    def __init__(self) -> None:
        self.subscribed: set[str] = set()
        self.answers: list[str] = []

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Send)
            message = json.loads(effect.text)
            assert len(message["params"]["symbol"]) <= 2
            for symbol in message["params"]["symbol"]:
                self.answers.append(self.said(message["method"], symbol, message["req_id"]))

    def said(self, method: str, symbol: str, req_id: int) -> str:
        if method == "subscribe":
            again = symbol in self.subscribed
            self.subscribed.add(symbol)
            return refusal("Already subscribed", req_id=req_id) if again else ack(symbol, req_id=req_id)
        if symbol not in self.subscribed:
            return refusal("Subscription Not Found", symbol=symbol, req_id=req_id)
        self.subscribed.remove(symbol)
        return goodbye(symbol, req_id=req_id)

    def answer(self, session: Session, now_s: float) -> None:
        for text in self.answers:
            effects = session.receive(text.encode(), now_s, received_ns=1)
            assert not [effect for effect in effects if isinstance(effect, Rejected | UnreadableFrame)]
        self.answers.clear()


# -- silence after asking -------------------------------------------------------------------------------------------


def beats(script: play, seconds: int) -> play:
    for _ in range(seconds):
        script >> tick(1) >> HEARTBEAT
    return script


def test_a_pair_without_an_answer_is_asked_for_again_and_then_put_off_where_others_stand() -> None:
    script = play(Session(TRADES, [BTC, ETH, XRP])) >> opened << asks(BTC, ETH, XRP)
    script >> ack(ETH) << answer << stands(ETH)
    beats(script, int(ACK_S) - 1) >> tick(1) << asks(BTC) >> ack(BTC) << answer << stands(BTC)
    script >> HEARTBEAT >> tick(1) << asks(XRP)
    beats(script, int(ACK_S) - 1) >> tick(1) << puts_off(XRP, seconds=FIRST_WAIT_S)
    assert beats(script, int(FIRST_WAIT_S) - 1) >> tick(1) << asks(XRP)


def test_where_nothing_stands_two_messages_without_an_answer_are_hung_up_on() -> None:
    script = play(Session(TRADES, [BTC, ETH])) >> opened << asks(BTC, ETH)
    beats(script, int(ACK_S) - 1) >> tick(1) << asks(BTC) >> tick(1) << asks(ETH)
    assert beats(script, int(ACK_S) - 2) >> tick(1) << hangs_up("no answer to the subscription of BTC/USD")


def test_pairs_asked_for_again_may_be_refused_without_their_symbols() -> None:
    session = Session(TRADES, [BTC, ETH])
    script = play(session) >> opened << asks(BTC, ETH)
    script.now_s += ACK_S
    script >> HEARTBEAT >> tick(0) << asks(BTC) >> tick(1) << asks(ETH)
    numbers = sent_ids(session)
    script >> refusal("no", req_id=numbers[1]) << answer << is_rejected(ETH, "no")
    assert script >> refusal("Already subscribed", req_id=numbers[0]) << answer << stands(BTC)
    assert session.settled


def test_a_late_acknowledgement_of_the_first_asking_counts() -> None:
    script = play(Session(TRADES, [BTC])) >> opened << asks(BTC)
    script.now_s += ACK_S
    script >> HEARTBEAT >> tick(0) << asks(BTC) >> ack(BTC, req_id=1) << answer << stands(BTC)
    script.now_s += ACK_S
    assert script >> HEARTBEAT >> tick(0)


# -- a quiet line ---------------------------------------------------------------------------------------------------


def pong(req_id: int = 101) -> str:
    return frame(method="pong", req_id=req_id, time_in="x", time_out="y")


def subscribed(*pairs: str) -> play:
    """A session with exactly these pairs, all acknowledged."""
    script = play(Session(TRADES, list(pairs))) >> opened << asks(*pairs)
    for pair in pairs:
        script >> ack(pair) << answer << stands(pair)
    return script


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
def test_while_a_subscription_stands_what_is_neither_data_nor_a_heartbeat_is_no_sign_of_life(text: str) -> None:
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
def test_while_a_subscription_stands_data_and_heartbeats_are_signs_of_life_even_data_that_cannot_be_read(
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


def test_while_the_only_pair_is_asked_for_anew_answers_are_signs_of_life_until_it_stands_again() -> None:
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


def test_before_a_subscription_stands_the_deadline_is_counted_from_the_last_frame_of_any_kind() -> None:
    for text in (HEARTBEAT, trades(trade_json(5)), "not json", '{"channel":"book"}', pong()):
        for pairs in ([], [BTC]):
            session = Session(TRADES, pairs)
            session.opened(55.0)
            session.receive(text.encode(), 60.0, received_ns=1)
            assert not [effect for effect in session.tick(60.0 + IDLE_S - 0.1) if isinstance(effect, Hangup)]
            assert play(session, now_s=60.0) >> tick(IDLE_S) << hangs_up("no frame for 8 s")


# -- trades ---------------------------------------------------------------------------------------------------------


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


# -- status, and what else there is ---------------------------------------------------------------------------------


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


# -- rows that nobody asked for -------------------------------------------------------------------------------------


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


def test_rows_of_a_pair_that_was_asked_for_or_left_are_rows_and_every_word_is_told_apart() -> None:
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


# -- no frame makes it raise ----------------------------------------------------------------------------------------

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
