from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.kraken.channels import TRADES
from recorder.kraken.subscriptions import ACK_S, FIRST_WAIT_S
from recorder.kraken.websocket_session import (
    PING_AFTER_S,
    SUBSCRIBE_BATCH,
    Effect,
    Rejected,
    Send,
    Session,
    Subscribed,
    UnreadableFrame,
)
from tests.kraken.session_scripts import (
    BTC,
    ETH,
    HEARTBEAT,
    XRP,
    ack,
    add,
    answer,
    asks,
    beats,
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
    pong,
    puts_off,
    refusal,
    sent_ids,
    stands,
    tick,
    trade_json,
    trades,
)


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


def test_a_refusal_without_a_symbol_is_matched_by_its_message_number() -> None:
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
def test_a_pair_refused_for_now_is_requested_with_backoff_until_granted(*, named: bool) -> None:
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


def test_pairs_added_and_dropped_before_opening_are_in_the_first_subscription() -> None:
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


def test_a_pair_dropped_before_its_answer_is_not_waited_for() -> None:
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


def test_an_unanswered_pair_is_requested_again_and_then_postponed() -> None:
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
