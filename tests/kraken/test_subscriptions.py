from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.kraken.subscriptions import ACK_S, FIRST_WAIT_S, LAST_WAIT_S, Subscriptions, is_for_good

MANY = [f"P{number}/USD" for number in range(80)]


@pytest.mark.parametrize(
    ("error", "for_good"),
    [
        ("Currency pair not supported P0/USD", True),
        ("Currency pair not in ISO 4217-A3 format P0/USD", True),
        ("Currency pair not supported", True),
        ("Currency pair not supported P1/USD", False),
        ("Currency pair not supported at this time", False),
        ("Currency pair not available P0/USD", False),
        ("EGeneral:Too many requests", False),
        ("EQuery:Unknown asset pair", False),
        ("EService:Unavailable", False),
        ("Subscription not possible", False),
        ("ESession:Invalid session", False),
        ("", False),
    ],
)
def test_only_that_there_is_no_such_pair_is_for_good(error: str, for_good: bool) -> None:  # noqa: FBT001
    assert is_for_good(error, "P0/USD") is for_good


class Server:
    """An exchange that answers each message at once, and what it was sent, with the moment."""

    def __init__(self, grants: Callable[[float, Sequence[str]], Sequence[str]], *, named: bool) -> None:
        self.grants = grants
        self.named = named
        self.asking = Subscriptions(100)
        self.sent: list[tuple[float, Sequence[str]]] = []
        self.granted: set[str] = set()

    def take(self, symbols: Sequence[str], now_s: float) -> None:
        self.asking.sent(len(self.sent), symbols, now_s)
        self.sent.append((now_s, symbols))
        granted = self.grants(now_s, symbols)
        for symbol in granted:
            assert self.asking.granted(symbol, now_s)
        self.granted.update(granted)
        refused = [symbol for symbol in symbols if symbol not in granted]
        for batch in [[symbol] for symbol in refused] if self.named else [refused] if refused else []:
            self.asking.refused(batch, now_s, named=self.named)

    def run(self, symbols: Sequence[str], seconds: int) -> None:
        for batch in self.asking.begin(symbols, 0.0):
            self.take(batch, 0.0)
        for now_s in range(1, seconds):
            if due := self.asking.due(now_s):
                self.take(due, now_s)


def upto(most: int) -> Callable[[float, Sequence[str]], Sequence[str]]:
    return lambda _, symbols: symbols if len(symbols) <= most else ()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("most", "messages"), [(50, 3), (20, 6), (1, 86)])
def test_messages_are_halved_until_the_exchange_takes_them(most: int, messages: int, *, named: bool) -> None:
    server = Server(upto(most), named=named)
    server.run(MANY, 400)
    assert server.granted == set(MANY)
    assert len(server.sent) == messages


def test_a_message_that_is_refused_halves_the_next_ones_which_follow_one_by_one() -> None:
    server = Server(upto(50), named=False)
    server.run(MANY, 60)
    assert [(now_s, len(symbols)) for now_s, symbols in server.sent] == [(0, 80), (5, 40), (6, 40)]


@pytest.mark.parametrize("named", [True, False])
def test_few_messages_are_sent_while_refused_and_all_is_granted_soon_after(*, named: bool) -> None:
    ends_s = 3600
    server = Server(lambda now_s, symbols: symbols if now_s >= ends_s else (), named=named)
    server.run(MANY, 4200)
    before = [now_s for now_s, _ in server.sent if now_s < ends_s]
    assert len(before) <= 30
    assert all(later - sooner >= FIRST_WAIT_S for sooner, later in itertools.pairwise(before))
    assert server.granted == set(MANY)
    assert server.sent[-1][0] <= ends_s + LAST_WAIT_S + 10


@pytest.mark.parametrize("named", [True, False])
def test_one_pair_that_is_always_refused_keeps_no_other_from_the_stream(*, named: bool) -> None:
    def grants(_: float, symbols: Sequence[str]) -> Sequence[str]:
        if named:
            return [symbol for symbol in symbols if symbol != MANY[7]]
        return () if MANY[7] in symbols else symbols

    server = Server(grants, named=named)
    server.run(MANY, 600)
    assert server.granted == {*MANY} - {MANY[7]}
    assert server.sent[-1][1] == [MANY[7]]


def test_an_exchange_that_takes_some_pairs_a_second_gets_the_others_in_time() -> None:
    server = Server(lambda _, symbols: symbols[:10], named=True)
    server.run(MANY, 120)
    assert server.granted == set(MANY)


def test_pairs_that_come_while_messages_are_small_follow_one_message_a_tick() -> None:
    server = Server(upto(3), named=False)
    server.run(MANY[:10], 8)
    assert server.asking.begin(MANY[10:], 8.0) == []
    assert 0 < len(server.asking.due(8.0)) <= 10


def test_what_is_not_answered_is_asked_for_once_more_in_smaller_messages() -> None:
    asking = Subscriptions(4)
    asking.sent(1, MANY[:4], 0.0)
    assert asking.unanswered(ACK_S - 0.1) == []
    assert asking.unanswered(ACK_S) == []
    first = asking.due(ACK_S)
    assert first == MANY[:2]
    asking.sent(2, first, ACK_S)
    assert asking.due(ACK_S) == MANY[2:4]
    assert asking.unanswered(2 * ACK_S) == first
    assert dict(asking.pending()) == dict.fromkeys(first, 2)


@given(
    st.lists(
        st.tuples(st.sampled_from(["tick", "grant", "refuse", "forget"]), st.sets(st.sampled_from(MANY[:6]))),
        max_size=40,
    )
)
def test_whatever_is_answered_every_pair_is_granted_left_or_due_in_time(steps: list[tuple[str, set[str]]]) -> None:
    asking, wanted, now_s = Subscriptions(4), set(MANY[:6]), 0.0
    for number, batch in enumerate(asking.begin(MANY[:6], now_s)):
        asking.sent(number, batch, now_s)
    for number, (step, symbols) in enumerate(steps, start=10):
        now_s += 1
        if step == "tick":
            asking.unanswered(now_s)
            if due := asking.due(now_s):
                asking.sent(number, due, now_s)
        elif step == "refuse":
            asking.refused(sorted(symbols & wanted), now_s, named=bool(number % 2))
        else:
            for symbol in sorted(symbols & wanted):
                assert asking.granted(symbol, now_s) if step == "grant" else asking.forget(symbol) in {True, False}
                wanted.remove(symbol)
    late_s = now_s + LAST_WAIT_S + ACK_S
    asking.unanswered(late_s)
    waiting = set[str]()
    while due := asking.due(late_s):
        asking.sent(99, due, late_s)
        waiting.update(due)
    assert waiting | {symbol for symbol, _ in asking.pending()} == wanted
