from __future__ import annotations

import asyncio

import pytest

from recorder.core.ledger import History
from recorder.core.repair_planning import Fill, Work
from recorder.core.trade_ids import Gap, Run, Span, Spans
from recorder.errors import DiskError, Malformed, Unavailable
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from recorder.repair import fetch_trades
from recorder.repair.fetch_trades import Fetched, Fetcher
from tests.builders import BTC, PAIR, T0_US, Shop, trades
from tests.clocks import ManualClock
from tests.fakes import FakeHttp, Fakes


class Slow(FakeHttp):
    """Takes ``takes_s`` seconds for each answer."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.takes_s = 0.0
        self._clock = clock

    async def get(self, request: Request) -> HttpAnswer:
        self._clock.move(self.takes_s)
        return await super().get(request)


class Bench(Fakes):
    def __init__(self, opened: Shop) -> None:
        clock = ManualClock()
        self.opened, self.http = opened, Slow(clock)
        super().__init__(self.http, clock=clock)
        self.fetcher = Fetcher(
            self.ledger,
            opened.archive,
            self.exchange,
            instruments={PAIR: BTC},
            clock=clock,
            metrics=self.metrics,
        )

    async def fetch(self, work: Work, *, attempt: int = 0) -> Fetched:
        attempts = {gap.span.first: attempt for gap in work.gaps} if isinstance(work, Fill) else {}
        return await self.fetcher.fetch(work, attempts=attempts)


@pytest.fixture
def bench(opened: Shop) -> Bench:
    return Bench(opened)


def gap(first: int, last: int) -> Gap:
    return Gap(PAIR, Span(first, last), T0_US + (first - 1) * 1000, T0_US + (last + 1) * 1000)


def hole(first: int, last: int) -> Fill:
    return Fill(PAIR, (gap(first, last),))


async def test_a_hole_is_archived_and_then_held(bench: Bench) -> None:
    assert await bench.fetch(hole(11, 499)) == Fetched(489)
    assert bench.opened.ids() == list(range(11, 500))
    assert list(bench.ledger.of(PAIR).spans) == [Span(11, 499)]


async def test_a_batch_ends_with_its_rows_and_the_next_goes_on_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_trades, "BATCH_ROWS", 150)
    first = await bench.fetch(hole(11, 499))
    assert 150 <= first.rows <= 250
    asked = len(bench.http.asked)
    second = await bench.fetch(hole(11 + first.rows, 499))
    assert second.rows >= 150
    assert len(bench.http.asked) - asked == 2  # no page is asked for twice
    assert bench.opened.ids() == list(range(11, 11 + first.rows + second.rows))


async def test_a_batch_ends_with_its_time(bench: Bench) -> None:
    bench.http.takes_s = fetch_trades.BATCH_S / 3
    await bench.fetch(hole(11, 5_000))
    assert len(bench.http.asked) == 3


async def test_a_batch_that_has_found_nothing_yet_goes_on_however_slow_the_pace(bench: Bench) -> None:
    """Its next try would begin at the same place, and get no further."""
    bench.http.takes_s = fetch_trades.BATCH_S
    assert await bench.fetch(hole(2_001, 2_050), attempt=1) == Fetched(50)
    assert len(bench.http.asked) > 5  # it began a second earlier, at ten pages a second


@pytest.mark.parametrize("problem", [Unavailable("HTTP 502"), Malformed("not what we know")])
async def test_what_came_before_a_problem_is_kept(bench: Bench, problem: Exception) -> None:
    assert isinstance(problem, Unavailable | Malformed)
    first = await bench.fetch(hole(11, 60))
    bench.http.problems = [problem]
    assert await bench.fetch(hole(61, 90)) == Fetched(0, problem=problem)
    assert (first.rows, bench.opened.ids()) == (50, list(range(11, 61)))


async def test_gaps_are_filled_together_and_other_rows_of_a_page_are_archived(
    bench: Bench,
) -> None:
    for first, last in ((1, 100), (103, 110), (115, 120), (123, 200)):
        bench.ledger.observe_trades(trades(first, last))
    fetched = await bench.fetch(Fill(PAIR, (gap(101, 102), gap(121, 122))))
    assert (fetched.rows, len(bench.http.asked)) == (8, 2)
    assert list(bench.ledger.of(PAIR).spans) == [Span(1, 200)]


async def test_what_was_asked_for_and_did_not_come_is_told_beside_what_came(bench: Bench) -> None:
    bench.http.lacking = frozenset({40, 41})
    assert await bench.fetch(hole(11, 60)) == Fetched(48, given_up=(Span(40, 41),))


async def test_history_brings_where_it_begins_and_leaves_a_hole(bench: Bench) -> None:
    bench.ledger.observe(Run(PAIR, Span(5_000, 5_009), T0_US + 5_000_000, T0_US + 5_009_000))
    history = bench.ledger.history(PAIR, T0_US + 2_000_000)
    assert history is not None
    await bench.fetch(history)
    assert bench.ledger.history(PAIR, T0_US + 2_000_000) is None
    (left,) = bench.ledger.of(PAIR).gaps()
    assert bench.opened.ids()[0] < 2_000
    assert left.span.last == 4_999


async def test_the_whole_history_begins_with_its_first_trade(bench: Bench) -> None:
    assert await bench.fetch(History(PAIR, 0, 5_000, T0_US + 5_000_000)) == Fetched(100)
    assert bench.opened.ids()[0] == 1


class Paused(FakeHttp):
    """Lets others have their turn before each answer, and after it."""

    async def get(self, request: Request) -> HttpAnswer:
        await asyncio.sleep(0)
        answer = await super().get(request)
        await asyncio.sleep(0)
        return answer


class Broken(FakeHttp):
    """Fails, as no exchange does, at the third request."""

    async def get(self, request: Request) -> HttpAnswer:
        if len(self.asked) == 2:
            raise RuntimeError("not foreseen")
        return await super().get(request)


def fetcher_for(bench: Bench, http: FakeHttp) -> Fetcher:
    fakes = Fakes(http, clock=bench.clock)
    return Fetcher(
        bench.ledger,
        bench.opened.archive,
        fakes.exchange,
        instruments={PAIR: BTC},
        clock=bench.clock,
        metrics=bench.metrics,
    )


async def test_cancelled_at_any_moment_it_first_stores_and_counts_what_has_come(bench: Bench) -> None:
    whole, cancelled, turns = hole(11, 499), 0, 0
    while True:
        came: list[int] = []
        fetcher = fetcher_for(bench, Paused())
        before = bench.opened.ids()
        fetching = asyncio.create_task(fetcher.fetch(Fill(PAIR, whole.gaps), received=came.append))
        for _ in range(turns):
            await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.sleep(0)
        fetching.cancel()  # whoever stops it may be in a hurry
        ended = (await asyncio.gather(fetching, return_exceptions=True))[0]
        held = bench.opened.ids()
        assert list(bench.ledger.of(PAIR).spans) == list(Spans.of_ids(held)), turns
        assert set(held) - set(before) >= set(range(11, 11 + (came[-1] if came else 0))) - set(before), turns
        assert fetcher.stored[PAIR] == len(held) - len(before)
        if isinstance(ended, Fetched):
            break
        assert isinstance(ended, asyncio.CancelledError), turns
        cancelled, turns = cancelled + 1, turns + 1
    assert cancelled > 10
    assert held == list(range(11, 500))


async def test_an_error_that_nobody_foresaw_leaves_what_came_before_it_in_the_archive(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="not foreseen"):
        await fetcher_for(bench, Broken()).fetch(hole(11, 499))
    assert 100 < len(bench.opened.ids()) <= 200
    assert bench.ledger.of(PAIR).spans.count() == len(bench.opened.ids())


async def test_a_disk_that_fails_goes_before_the_wish_to_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Spans:
        raise DiskError("the disk is full (test)")

    monkeypatch.setattr(bench.opened.archive, "append", full)
    fetching = asyncio.create_task(fetcher_for(bench, Paused()).fetch(hole(11, 499)))
    for _ in range(8):
        await asyncio.sleep(0)
    fetching.cancel()
    with pytest.raises(DiskError):
        await fetching
    assert not bench.ledger.of(PAIR).spans


async def test_a_batch_that_was_planned_for_what_is_no_more_ends_after_its_next_answer(bench: Bench) -> None:
    http = Paused()
    fetcher = fetcher_for(bench, http)
    fetching = asyncio.create_task(fetcher.fetch(hole(11, 499)))
    while len(http.asked) < 2:
        await asyncio.sleep(0)
    fetcher.plan_anew("ETH/USD")
    fetcher.plan_anew(PAIR)
    assert 100 < (await fetching).rows <= 200
    assert len(http.asked) == 2
    assert len(bench.opened.ids()) <= 200
    assert (await fetcher.fetch(hole(300, 499))).rows == 200, "the next one is of its own"
