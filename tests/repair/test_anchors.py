from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from recorder.core.evidence import Anchored, Promise, Promised
from recorder.core.trade_ids import Run, Span
from recorder.errors import Unavailable
from recorder.repair.anchors import EVERY_S, FIRST_RETRY_S, GRACE_S, Anchors
from tests.builders import BTC, PAIR, T0_US
from tests.clocks import settle
from tests.fakes import FakeHttp, Fakes


class Bench(Fakes):
    """Looks for anchors at a fake exchange; what is noted counts at once, as the commit would have it."""

    def __init__(self, last: int) -> None:
        self.http = FakeHttp(last)
        super().__init__(self.http)
        self.promised, self.behind_of = asyncio.Event(), list[str]()
        self.instruments = {PAIR: BTC}
        self.anchors = Anchors(
            self.ledger, self.context, instruments=self.instruments, promised=self.promised, catch_up=self
        )

    async def fetch_newest(self, pair: str) -> int | None:
        self.behind_of.append(pair)
        return None

    def promise(self, time_us: int) -> None:
        self.ledger.know(Promised(PAIR, time_us))
        self.promised.set()

    async def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        for _ in range(int(seconds / step_s)):
            await self.turn()
            self.clock.move(step_s)
        await self.turn()

    async def turn(self) -> None:
        await settle()
        waiting = self.inbox.take()
        for inbound in waiting:
            if inbound.known is not None:
                self.ledger.know(inbound.known)
            if inbound.counts is not None:
                inbound.counts.set_result(None)
        await settle()

    @property
    def found(self) -> Promise | None:
        return self.ledger.of(PAIR).promise

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.anchors.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_the_anchor_is_noted_and_newer_trades_that_were_seen_are_fetched() -> None:
    bench = Bench(last=100)
    async with bench.running():
        await bench.turn()
        assert not bench.http.asked
        bench.promise(T0_US + 60_000)
        await bench.turn()
        assert bench.found == Promise(T0_US + 60_000, 59)
        assert not bench.behind_of  # a snapshot may be on its way
        await bench.pass_time(GRACE_S)
        assert bench.behind_of == [PAIR]
        asked = len(bench.http.asked)
        await bench.pass_time(3 * EVERY_S)
        assert len(bench.http.asked) == asked


async def test_nothing_is_fetched_where_what_the_look_showed_is_held() -> None:
    bench = Bench(last=100)
    bench.ledger.observe(Run(PAIR, Span(55, 100), T0_US + 55_000, T0_US + 100_000))
    async with bench.running():
        bench.promise(T0_US + 60_000)
        await bench.turn()
        assert bench.found == Promise(T0_US + 60_000, 59)
        await bench.pass_time(2 * GRACE_S)
        assert not bench.behind_of


async def test_a_pair_that_never_traded_has_the_anchor_0() -> None:
    bench = Bench(last=0)
    async with bench.running():
        bench.promise(T0_US)
        await bench.turn()
        assert bench.found == Promise(T0_US, 0)
        assert not bench.behind_of


async def test_a_look_that_failed_is_made_again_ever_later_and_is_never_given_up() -> None:
    bench = Bench(last=100)
    bench.http.problems = [Unavailable("down (test)") for _ in range(20)]
    async with bench.running():
        bench.promise(T0_US + 60_000)
        await bench.turn()
        await bench.pass_time(FIRST_RETRY_S)
        assert len(bench.http.asked) == 2
        await bench.pass_time(3600, step_s=5.0)
        assert len(bench.http.asked) > 15
        await bench.pass_time(3600, step_s=5.0)
        assert bench.found == Promise(T0_US + 60_000, 59)


async def test_an_earlier_promise_is_looked_for_anew() -> None:
    bench = Bench(last=100)
    bench.ledger.know(Promised(PAIR, T0_US + 60_000))
    bench.ledger.know(Anchored(PAIR, T0_US + 60_000, 59))
    async with bench.running():
        bench.promise(T0_US + 30_000)
        await bench.turn()
        assert bench.found == Promise(T0_US + 30_000, 29)


async def test_a_pair_that_has_left_is_not_asked_for() -> None:
    bench = Bench(last=100)
    del bench.instruments[PAIR]
    async with bench.running():
        bench.promise(T0_US)
        await bench.pass_time(2 * EVERY_S)
        assert not bench.http.asked
