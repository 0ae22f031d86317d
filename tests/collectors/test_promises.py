from __future__ import annotations

import asyncio
from collections.abc import Sequence

from recorder.collectors.promises import EARLIEST_S, MARGIN_S, Promises
from recorder.core.evidence import Anchored, Promise, Promised, Void
from recorder.core.trade_ids import Run, Span
from tests.builders import PAIR
from tests.clocks import ManualClock, settle
from tests.fakes import Fakes

NOW_S = 1_790_000_000


class Bench(Fakes):
    """Promises of pairs whose clocks say what they are told to."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock(NOW_S * 10**9))
        self.now_s: float | None = float(NOW_S)
        self.latest_s = float(NOW_S)
        self.names: dict[str, list[str]] = {}
        self.from_bulk = False
        self.promises = Promises(
            self.ledger,
            self.context,
            now_s=lambda: self.now_s,
            latest_s=lambda: self.latest_s,
            earlier_names=lambda pair: self.names.get(pair, []),
            recorded=lambda _pair, _trade_id: not self.from_bulk,
        )

    async def made(self, *pairs: str) -> list[Promised | Anchored]:
        """Have promises made; return what was noted for it."""
        making = asyncio.create_task(self.promises.make(pairs))
        found: list[Promised | Anchored] = []
        while not making.done():
            await settle()
            waiting = self.inbox.take()
            for inbound in waiting:
                assert isinstance(inbound.known, Promised | Anchored)
                found.append(inbound.known)
                self.ledger.know(inbound.known)
                assert inbound.counts is not None
                inbound.counts.set_result(None)
        await making
        return found

    def held(self, first: int, last: int, *, first_us: int, last_us: int, pair: str = PAIR) -> None:
        self.ledger.observe(Run(pair, Span(first, last), first_us, last_us))


def us(seconds: float) -> int:
    return int(seconds * 1_000_000)


async def test_a_pair_is_promised_from_a_minute_before_the_earlier_clock_on() -> None:
    bench = Bench()
    assert await bench.made(PAIR) == [Promised(PAIR, us(NOW_S - MARGIN_S))]
    for now_s, latest_s, expected_s in (
        (NOW_S - 500.0, NOW_S, NOW_S - 500),  # the exchange, or the host, is behind
        (None, NOW_S, NOW_S),  # the exchange has not said
        (0.0, NOW_S - 7, NOW_S - 7),  # the host's clock was never set
        (0.0, 0.0, EARLIEST_S),
    ):
        bench = Bench()
        bench.now_s, bench.latest_s = now_s, float(latest_s)
        assert await bench.made(PAIR) == [Promised(PAIR, us(expected_s - MARGIN_S))]


async def test_it_is_made_once_and_returns_only_once_it_counts() -> None:
    bench = Bench()
    making = asyncio.create_task(bench.promises.make([PAIR, "ETH/USD"]))
    again = asyncio.create_task(bench.promises.make([PAIR]))
    await settle()
    assert not making.done()
    assert not again.done()
    for inbound in bench.inbox.take():
        assert inbound.known is not None
        assert inbound.counts is not None
        bench.ledger.know(inbound.known)
        inbound.counts.set_result(None)
    await asyncio.gather(making, again)
    assert bench.inbox.size == 0
    assert await bench.made(PAIR, "ETH/USD") == []
    assert bench.promises.made_some.is_set()


async def test_an_archive_that_was_begun_without_promises_begins_with_its_lowest_trade() -> None:
    bench = Bench()
    bench.held(70, 80, first_us=us(NOW_S - 900), last_us=us(NOW_S - 5))
    assert await bench.made(PAIR) == [
        Promised(PAIR, us(NOW_S - 900)),
        Anchored(PAIR, us(NOW_S - 900), 69, assumed=True),
    ]
    assert bench.ledger.of(PAIR).promise == Promise(us(NOW_S - 900), 69, assumed=True)
    bench = Bench()
    bench.held(3, 8, first_us=us(NOW_S - 900), last_us=us(NOW_S - 5))
    bench.ledger.know(Void(PAIR, Span(1, 2)))
    assert (await bench.made(PAIR))[1] == Anchored(PAIR, us(NOW_S - 900), 0, assumed=True)


async def test_rows_of_somebody_elses_files_are_no_promise() -> None:
    bench = Bench()
    bench.from_bulk = True
    bench.held(70, 80, first_us=us(NOW_S - 900), last_us=us(NOW_S - 5))
    assert await bench.made(PAIR) == [Promised(PAIR, us(NOW_S - MARGIN_S))]


async def test_a_new_name_continues_from_the_last_trade_or_anchor_of_the_old() -> None:
    bench = Bench()
    bench.names[PAIR] = ["XBT/USD", "OLD/USD", "NEVER/USD"]
    bench.held(70, 80, first_us=us(NOW_S - 900), last_us=us(NOW_S - 500), pair="XBT/USD")
    bench.held(1, 7, first_us=us(NOW_S - 9000), last_us=us(NOW_S - 8000), pair="OLD/USD")
    expected: Sequence[Promised | Anchored] = [
        Promised(PAIR, us(NOW_S - 500)),
        Anchored(PAIR, us(NOW_S - 500), 80),
    ]
    assert await bench.made(PAIR) == expected
    bench = Bench()
    bench.names[PAIR] = ["XBT/USD"]
    bench.ledger.know(Promised("XBT/USD", us(NOW_S - 400)))
    assert await bench.made(PAIR) == [Promised(PAIR, us(NOW_S - MARGIN_S))]
    bench = Bench()
    bench.names[PAIR] = ["XBT/USD"]
    bench.ledger.know(Promised("XBT/USD", us(NOW_S - 400)))
    bench.ledger.know(Anchored("XBT/USD", us(NOW_S - 400), 33))
    assert await bench.made(PAIR) == [Promised(PAIR, us(NOW_S - 400)), Anchored(PAIR, us(NOW_S - 400), 33)]


async def test_an_acknowledgement_of_an_earlier_moment_makes_one_more_note() -> None:
    bench = Bench()
    await bench.made(PAIR)
    bench.ledger.know(Anchored(PAIR, us(NOW_S - MARGIN_S), 33))
    await bench.promises.acknowledged(PAIR, us(NOW_S + 3))
    await bench.promises.acknowledged(PAIR, us(1_000))  # no clock of this world
    await bench.promises.acknowledged("ETH/USD", us(NOW_S - 3))
    assert bench.noted() == []
    await bench.promises.acknowledged(PAIR, us(NOW_S - 3))
    (note,) = bench.noted("promised")
    assert note == {"kind": "promised", "pair": PAIR, "time_us": us(NOW_S - 3 - MARGIN_S)}
    # What was found for the later moment says nothing of what was made between the two.
    assert bench.ledger.of(PAIR).promise == Promise(us(NOW_S - 3 - MARGIN_S))


async def test_after_a_kill_no_promise_is_later_than_the_first() -> None:
    old = Bench()
    old.held(70, 80, first_us=us(NOW_S - 900), last_us=us(NOW_S - 5))
    old.names["BRAND/USD"] = [PAIR]
    notes = [*await old.made(PAIR, "NEW/USD"), *await old.made("BRAND/USD")]
    assert [type(note) for note in notes] == [Promised, Anchored, Promised, Promised, Anchored]
    for kept in range(len(notes) + 1):
        bench = Bench()
        bench.clock.move(3600.0)
        bench.now_s = bench.latest_s = NOW_S + 3600.0
        bench.held(70, 80, first_us=us(NOW_S - 900), last_us=us(NOW_S - 5))
        bench.names["BRAND/USD"] = [PAIR]
        for note in notes[:kept]:
            bench.ledger.know(note)
        before = {pair: bench.ledger.of(pair).promise for pair in (PAIR, "NEW/USD", "BRAND/USD")}
        await bench.made(*before)
        for pair, promise in before.items():
            after = bench.ledger.of(pair).promise
            assert after is not None
            assert promise is None or after == promise
        # Where a promise is durable and its anchor is not, the exchange is asked for it.
        killed_between = {1: PAIR, 4: "BRAND/USD"}.get(kept)
        lacking = {pair for pair in before if bench.ledger.of(pair).promise == Promise(_time_us(bench, pair))}
        assert lacking == {"NEW/USD", *([killed_between] if killed_between else [])}


def _time_us(bench: Bench, pair: str) -> int:
    promise = bench.ledger.of(pair).promise
    assert promise is not None
    return promise.time_us


async def test_an_acknowledgement_without_a_time_counts_as_service_only() -> None:
    served: list[bool] = []
    bench = Bench()
    bench.promises._served = lambda: served.append(True)
    await bench.made(PAIR)
    before = bench.ledger.of(PAIR).promise
    await bench.promises.acknowledged(PAIR, None)
    assert served == [True]
    assert bench.ledger.of(PAIR).promise == before
