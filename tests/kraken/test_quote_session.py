"""What a session of quotes is: numbered from its snapshot to its end, and never carried over anything unknown."""

from __future__ import annotations

import json

import pytest

from recorder.kraken.quote_session import NumberedRows, QuoteSession, SessionEnd, SessionNumbers, SessionsEnded
from recorder.kraken.websocket_session import Send, Subscribed, UnknownFrame, UnreadableFrame
from tests.kraken.quote_frames import PAIR, ticker, top
from tests.kraken.session_scripts import TIMES, ack

ETH = "ETH/USD"
HEARTBEAT = b'{"channel":"heartbeat"}'
T0_NS = 1_783_465_205_000_000_000


class Line:
    """A connection, and the time by both clocks: each frame comes a second after the one before."""

    def __init__(self, *pairs: str, numbers: SessionNumbers | None = None, second: int = 0) -> None:
        self.session = QuoteSession(pairs or (PAIR,), SessionNumbers() if numbers is None else numbers)
        self.second = second
        self.session.opened(float(second))
        for pair in pairs or (PAIR,):
            self.comes(ack(pair, channel="ticker").encode())

    def comes(self, frame: bytes) -> list[object]:
        self.second += 1
        return list(self.session.receive(frame, float(self.second), received_ns=at(self.second)))

    def numbers(self, frame: bytes) -> dict[str, tuple[int, int]]:
        (rows,) = (effect for effect in self.comes(frame) if isinstance(effect, NumberedRows))
        return rows.numbers


def at(second: int) -> int:
    return T0_NS + second * 1_000_000_000


def snapshot(*pairs: str) -> bytes:
    return ticker(*map(top, pairs or (PAIR,)), kind="snapshot")


def test_it_asks_for_every_change_of_the_best_prices() -> None:
    (asked,) = QuoteSession([PAIR], SessionNumbers()).opened(0.0)
    assert isinstance(asked, Send)
    assert json.loads(asked.text)["params"] == {
        "channel": "ticker",
        "event_trigger": "bbo",
        "symbol": [PAIR],
        "snapshot": True,
    }


def test_a_session_is_named_by_its_first_frame_and_counts_from_0() -> None:
    line = Line()
    assert [line.numbers(frame) for frame in (snapshot(), ticker(), ticker())] == [
        {PAIR: (at(2), 0)},
        {PAIR: (at(2), 1)},
        {PAIR: (at(2), 2)},
    ]


def test_it_begins_with_an_update_where_no_snapshot_comes_first() -> None:
    line = Line()
    assert line.numbers(ticker()) == {PAIR: (at(2), 0)}


def test_pairs_count_by_themselves_and_rows_of_one_frame_one_by_one() -> None:
    line = Line(PAIR, ETH)
    assert line.numbers(snapshot(PAIR, ETH)) == {PAIR: (at(3), 0), ETH: (at(3), 0)}
    assert line.numbers(ticker(top(), top())) == {PAIR: (at(3), 1)}
    assert line.numbers(ticker(top(), top(ETH))) == {PAIR: (at(3), 3), ETH: (at(3), 1)}


def test_two_sessions_of_a_pair_never_have_one_name_though_the_clock_is_set_back() -> None:
    numbers = SessionNumbers()
    first = Line(numbers=numbers, second=100).numbers(snapshot())[PAIR][0]
    second = Line(numbers=numbers, second=100).numbers(snapshot())[PAIR][0]
    third = Line(numbers=numbers, second=10).numbers(snapshot())[PAIR][0]
    assert first == at(102)
    assert first < second < third


def test_it_ends_with_its_connection_as_of_the_last_sign_of_life() -> None:
    line = Line(PAIR, ETH)
    line.comes(snapshot(PAIR, ETH))
    line.comes(ticker())
    line.comes(HEARTBEAT)
    line.comes(b'{"method":"pong","req_id":7}')  # also half-dead gateways send that
    assert line.session.closed() == [
        SessionsEnded((SessionEnd(PAIR, at(3), 2, at(5)), SessionEnd(ETH, at(3), 1, at(5))))
    ]
    assert line.session.closed() == []


def test_a_snapshot_that_nobody_asked_for_ends_it_and_begins_another() -> None:
    line = Line()
    line.comes(snapshot())
    line.comes(HEARTBEAT)
    assert line.comes(snapshot()) == [
        SessionsEnded((SessionEnd(PAIR, at(2), 1, at(3)),)),
        NumberedRows({PAIR: (at(4), 0)}, snapshot(), at(4)),
    ]


def test_it_ends_when_the_end_of_its_subscription_is_acknowledged_and_frames_until_then_belong_to_it() -> None:
    line = Line()
    line.comes(snapshot())
    line.session.drop([PAIR])
    assert line.numbers(ticker()) == {PAIR: (at(2), 1)}
    result = {"channel": "ticker", "event_trigger": "bbo", "symbol": PAIR}
    goodbye = json.dumps({"method": "unsubscribe", "req_id": 2, "result": result, "success": True, **TIMES}).encode()
    assert line.comes(goodbye) == [
        UnknownFrame("answer", goodbye, at(4)),
        SessionsEnded((SessionEnd(PAIR, at(2), 2, at(3)),)),
    ]
    line.session.add([PAIR], float(line.second))
    again = line.comes(ack(PAIR, channel="ticker").encode())
    assert any(isinstance(effect, Subscribed) for effect in again)
    assert line.numbers(snapshot()) == {PAIR: (at(6), 0)}


def test_a_frame_that_cannot_be_read_is_a_message_all_the_same() -> None:
    line = Line()
    line.comes(snapshot())
    odd = ticker(top(bid="-1.0"))
    assert [type(effect) for effect in line.comes(odd)] == [UnknownFrame, UnreadableFrame]
    assert line.numbers(ticker()) == {PAIR: (at(2), 2)}
    whole = ticker()
    assert [type(effect) for effect in line.comes(whole[: len(whole) // 2])] == [UnknownFrame, UnreadableFrame]
    assert line.numbers(ticker()) == {PAIR: (at(2), 4)}


@pytest.mark.parametrize("odd", [ticker(top(symbol="null")), ticker()[:20]])
def test_where_nobody_can_tell_of_which_pair_a_frame_was_all_sessions_end(odd: bytes) -> None:
    line = Line(PAIR, ETH)
    line.comes(snapshot(PAIR, ETH))
    *_, ended = line.comes(odd)
    assert isinstance(ended, SessionsEnded)
    assert [end.pair for end in ended.ends] == [PAIR, ETH]


def test_a_row_that_cannot_be_read_costs_itself_and_counts() -> None:
    line = Line(PAIR, ETH)
    line.comes(snapshot(PAIR, ETH))
    frame = ticker(top(bid="-1.0"), top(ETH))
    kept, told, rows = line.comes(frame)
    assert kept == UnknownFrame("unreadable", frame, at(4))
    assert isinstance(told, UnreadableFrame)
    assert rows == NumberedRows({ETH: (at(3), 1)}, ticker(top(ETH)), at(4))
    assert line.numbers(ticker()) == {PAIR: (at(3), 2)}


def test_an_odd_quote_is_stored_and_told_once_of_its_pair() -> None:
    line = Line(PAIR, ETH)
    told, rows = line.comes(ticker(top(bid="0.0")))
    assert told == UnreadableFrame(
        "a quote of BTC/USD with a price or a quantity that is zero or null: stored as it came", PAIR
    )
    assert isinstance(rows, NumberedRows)
    assert len(line.comes(ticker(top(bid="0.0")))) == 1
    assert len(line.comes(ticker(top(ETH, bid="0.0")))) == 2


def test_rows_of_a_pair_that_nobody_asked_for_are_kept_and_told_and_numbered_for_nobody() -> None:
    line = Line()
    line.comes(snapshot())
    frame = ticker(top(), top(ETH))
    kept, told, rows = line.comes(frame)
    assert kept == UnknownFrame("unreadable", frame, at(3))
    assert isinstance(told, UnreadableFrame)
    assert rows == NumberedRows({PAIR: (at(2), 1)}, ticker(top()), at(3))
