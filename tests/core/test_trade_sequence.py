from __future__ import annotations

from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.evidence import Anchored, Disowned, Knowledge, Promised, Unreadable, Void
from recorder.core.ledger import PairLedger
from recorder.core.trade_ids import GapState, Run, Span, Spans
from recorder.core.trade_sequence import Delivery, Skipped, SkipReason, TradeSequence
from tests.builders import PAIR, trade, trades

ROOM = 1000


def account(*spans: Span, known: tuple[Knowledge, ...] = ()) -> PairLedger:
    """What is known of a pair that stores these ids."""
    found = PairLedger(PAIR)
    for span in spans:
        found.observe(Run(PAIR, span, span.first * 1000, span.last * 1000))
    for one in known:
        found.know(one)
    return found


def ids(deliveries: list[Delivery]) -> list[int]:
    return [one.trade.trade_id for one in deliveries]


def test_rows_in_any_order_and_repeated_come_by_id_and_once() -> None:
    sequence = TradeSequence(PAIR, 0, limit=ROOM)
    sequence.offer([trade(3), trade(1), trade(1)])
    assert ids(list(sequence.due())) == [1]
    assert sequence.blocked
    sequence.offer([trade(2), trade(3), trade(1)])
    assert ids(list(sequence.due())) == [2, 3]
    assert not sequence.blocked


def test_a_trade_waits_for_open_ids_before_it_and_says_for_which() -> None:
    sequence = TradeSequence(PAIR, 0, limit=ROOM)
    sequence.offer(trades(1, 2))
    assert ids(list(sequence.due())) == [1, 2]
    sequence.offer([trade(6)])
    assert sequence.resolve(account(Span(1, 2))) is None
    assert (list(sequence.due()), sequence.waiting) == ([], Span(3, 5))
    assert sequence.resolve(account(Span(1, 5))) == Span(3, 5), "they were repaired: the archive has them"
    sequence.offer(trades(3, 5))
    assert (ids(list(sequence.due())), sequence.waiting) == ([3, 4, 5, 6], None)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (Void(PAIR, Span(2, 4)), "void"),
        (Unreadable(PAIR, Span(2, 4)), "unreadable"),
        (Disowned(PAIR, Span(2, 4), 1, "a test"), "disowned"),
    ],
)
def test_absent_ids_are_passed_over_and_named_by_the_next_trade(known: Knowledge, reason: SkipReason) -> None:
    sequence = TradeSequence(PAIR, 1, limit=ROOM)
    sequence.offer([trade(5), trade(6)])
    assert sequence.resolve(account(Span(1, 1), known=(known,))) is None
    assert list(sequence.due()) == [Delivery(trade(5), (Skipped(2, 4, reason),)), Delivery(trade(6))]


def test_every_reason_but_the_last_is_a_state_of_absent_ids() -> None:
    assert {*get_args(SkipReason)} - {"before"} == {*get_args(GapState)} - {"open"}


def test_an_absent_id_that_is_stored_after_all_is_delivered() -> None:
    sequence = TradeSequence(PAIR, 1, limit=ROOM)
    sequence.offer([trade(3), trade(5)])
    assert sequence.resolve(account(Span(1, 1), known=(Void(PAIR, Span(2, 4)),))) is None
    assert [(one.trade.trade_id, one.skipped) for one in sequence.due()] == [(3, (Skipped(2, 2, "void"),))]
    assert sequence.resolve(account(Span(1, 1), Span(4, 4), known=(Void(PAIR, Span(2, 4)),))) == Span(4, 4)


def test_a_journalled_row_that_the_owner_disowned_is_not_delivered() -> None:
    sequence = TradeSequence(PAIR, 1, limit=ROOM)
    sequence.offer(trades(3, 5))
    disowned = account(Span(1, 1), known=(Disowned(PAIR, Span(2, 3), 1, "a test"),))
    assert sequence.resolve(disowned) is None
    assert ids(list(sequence.due())) == [4, 5]


@pytest.mark.parametrize(
    ("known", "waiting", "skipped"),
    [
        ((), None, (Skipped(1, 9, "before"),)),
        ((Promised(PAIR, 5000), Anchored(PAIR, 5000, 6)), None, (Skipped(1, 6, "before"),)),
        ((Promised(PAIR, 5000),), Span(1, 9), ()),
    ],
    ids=["nothing is promised", "promised from 7 on", "it is not known yet from where on"],
)
def test_ids_below_everything_promised_are_passed_over_and_promised_ones_waited_for(
    known: tuple[Knowledge, ...], waiting: Span | None, skipped: tuple[Skipped, ...]
) -> None:
    sequence = TradeSequence(PAIR, 0, limit=ROOM)
    sequence.offer([trade(10)])
    assert sequence.resolve(account(known=known)) is None
    assert list(sequence.due()) == ([] if waiting or sequence.waiting else [Delivery(trade(10), skipped)])
    if any(isinstance(one, Anchored) for one in known):
        assert sequence.waiting == Span(7, 9)
        sequence.offer(trades(7, 9))
        assert next(sequence.due()) == Delivery(trade(7), skipped)
    else:
        assert sequence.waiting == waiting


def test_what_was_delivered_keeps_later_ids_from_being_passed_over_though_no_file_shows_it_now() -> None:
    sequence = TradeSequence(PAIR, 0, limit=ROOM)
    sequence.offer(trades(1, 3))
    assert ids(list(sequence.due())) == [1, 2, 3]
    assert sequence.resolve(account(Span(9, 10))) is None
    assert (sequence.waiting, sequence.next_id) == (Span(4, 8), 4)


def test_beyond_its_room_it_forgets_the_highest_rows_and_says_when_they_are_needed() -> None:
    sequence = TradeSequence(PAIR, 0, limit=3)
    sequence.offer([trade(6), trade(5), trade(3), trade(2), trade(4)])
    assert not sequence.forgot
    sequence.offer([trade(1)])
    assert ids(list(sequence.due())) == [1, 2, 3]
    assert sequence.forgot
    sequence.offer_again()
    sequence.offer(trades(1, 6))
    assert ids(list(sequence.due())) == [4, 5, 6]
    assert not sequence.forgot


FATES = ("journal", "archive", "both", "void", "unreadable", "disowned")
ABSENT = ("void", "unreadable", "disowned")


class World:
    """An archive and a journal whose ids become known one by one, and what a follower was given of them."""

    def __init__(self, after: int, limit: int) -> None:
        self.known: dict[str, Spans] = {fate: Spans() for fate in FATES}
        self.sequence = TradeSequence(PAIR, after, limit=limit)
        self.delivered: list[int] = []
        self.skipped: list[Skipped] = []

    def happens(self, number: int, fate: str) -> None:
        self.known[fate].add(Span(number, number))
        if fate in {"journal", "both"}:
            self.sequence.offer([trade(number)])

    def look(self) -> None:
        """Look until nothing more is delivered, as a follower does."""
        while self._took() or self._read():
            pass

    def settled(self) -> Spans:
        return Spans(span for spans in self.known.values() for span in spans)

    def _took(self) -> bool:
        came = list(self.sequence.due())
        self.delivered += ids(came)
        self.skipped += [part for one in came for part in one.skipped]
        if self.sequence.forgot:
            self.sequence.offer_again()
            self.sequence.offer(trade(n) for fate in ("journal", "both") for n in _each(self.known[fate]))
            return True
        return bool(came)

    def _read(self) -> bool:
        told: list[Knowledge] = [Promised(PAIR, 0), Anchored(PAIR, 0, 0)]
        told += [Void(PAIR, span) for span in self.known["void"]]
        told += [Unreadable(PAIR, span) for span in self.known["unreadable"]]
        told += [Disowned(PAIR, span, 1, "") for span in self.known["disowned"]]
        archived = Spans([*self.known["archive"], *self.known["both"]])
        before = self.sequence.next_id
        held = self.sequence.resolve(account(*archived, known=tuple(told)))
        if held is None:
            return self.sequence.next_id > before
        assert archived.covers(held)
        self.sequence.offer(trade(n) for n in range(held.first, held.last + 1))
        return True


def _each(spans: Spans) -> list[int]:
    return [number for span in spans for number in range(span.first, span.last + 1)]


@given(
    fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=10),
    order=st.randoms(use_true_random=False),
    after=st.integers(0, 3),
    limit=st.integers(1, 4),
)
@settings(max_examples=60)
def test_in_whatever_order_ids_become_known_each_trade_comes_once_by_id_and_no_open_id_is_passed(
    fates: list[str], order: Random, after: int, limit: int
) -> None:
    world = World(after, limit)
    coming = [*enumerate(fates, 1)]
    order.shuffle(coming)
    for number, fate in coming:
        world.happens(number, fate)
        world.look()
        if world.delivered:
            assert world.settled().covers(Span(after + 1, world.delivered[-1]))
    assert world.delivered == [number for number, fate in enumerate(fates, 1) if number > after and fate not in ABSENT]
    last = world.delivered[-1] if world.delivered else 0
    passed = [(number, fate) for number, fate in enumerate(fates, 1) if after < number < last and fate in ABSENT]
    assert [(n, one.reason) for one in world.skipped for n in range(one.first_id, one.last_id + 1)] == passed
