from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import cast

from recorder.core.ledger import Ledger
from recorder.core.model import Span
from recorder.errors import Unavailable
from recorder.journal import segment
from recorder.kraken.parse import journalled_trades
from recorder.net.http import Http
from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbox
from recorder.tasks.poll import Poll
from tests.sandbox.conftest import ManualClock
from tests.tasks.support import BTC, PAIR, T0_US, FakeHttp, settle, trades


class Bench:
    """Polls a fake exchange; what is polled is claimed at once, as the commit would."""

    def __init__(self, last: int) -> None:
        self.http, self.clock, self.ledger, self.inbox = FakeHttp(last), ManualClock(), Ledger(), Inbox()
        self.lines: list[bytes] = []
        self.poll = Poll(
            self.ledger,
            self.inbox,
            cast("Http", self.http),
            instruments={PAIR: BTC},
            clock=self.clock,
            metrics=Metrics(),
        )

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.move(1.0)
            await settle()
            for inbound in self.inbox.take():
                self.lines.append(inbound.line)
                for run in inbound.claims:
                    self.ledger.observe_run(run)

    def journalled(self) -> list[int]:
        entries = [segment.decode(line.rstrip(b"\n")) for line in self.lines]
        return [t.trade_id for e in entries for t in journalled_trades(e.source, e.payload, e.recv_ns)]

    @property
    def held(self) -> list[Span]:
        return list(self.ledger.of(PAIR).spans)


@contextlib.asynccontextmanager
async def polling(last: int) -> AsyncIterator[Bench]:
    bench = Bench(last)
    task = asyncio.create_task(bench.poll.run())
    await settle()
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_nothing_is_asked_until_a_pair_is_taken_over_and_nothing_after_it_is_handed_back() -> None:
    async with polling(10) as bench:
        await bench.pass_time(20)
        assert bench.http.asked == []
        bench.poll.take_over(PAIR)
        await bench.pass_time(1)
        assert len(bench.http.asked) == 1
        bench.poll.hand_back(PAIR)
        await bench.pass_time(20)
        assert len(bench.http.asked) == 1


async def test_a_pair_begins_with_the_newest_page_and_then_takes_only_what_is_new() -> None:
    async with polling(500) as bench:
        bench.poll.take_over(PAIR)
        await bench.pass_time(2)
        assert bench.held == [Span(401, 500)]
        bench.http.last = 530
        await bench.pass_time(10)
        assert bench.held == [Span(401, 530)]
        assert set(bench.journalled()) == set(range(401, 531))
        lines = len(bench.lines)
        await bench.pass_time(30)
        assert len(bench.lines) == lines, "an answer without news is not journalled"


async def test_after_a_restart_it_goes_on_from_the_last_trade_held() -> None:
    async with polling(190) as bench:
        bench.ledger.observe_trades(trades(1, 100))
        bench.poll.take_over(PAIR)
        await bench.pass_time(1)
        assert "since=" + str((T0_US + 100_000) * 1000 - 1_000_000) in bench.http.asked[0].target
        assert bench.held == [Span(1, 190)]


async def test_it_asks_every_five_seconds_and_waits_longer_after_a_failure() -> None:
    async with polling(10) as bench:
        bench.poll.take_over(PAIR)
        await bench.pass_time(21)
        assert len(bench.http.asked) == 5
        bench.http.problems = [Unavailable("HTTP 502")]
        await bench.pass_time(5)
        asked = len(bench.http.asked)
        await bench.pass_time(13)
        assert len(bench.http.asked) == asked
        bench.http.last = 20
        await bench.pass_time(3)
        assert bench.held == [Span(1, 20)]


async def test_a_last_that_is_no_time_of_the_page_is_not_followed() -> None:
    async with polling(10) as bench:
        bench.http.odd_last = "9999999999999999999"
        bench.poll.take_over(PAIR)
        await bench.pass_time(2)
        bench.http.last = 30
        await bench.pass_time(10)
        assert bench.held == [Span(1, 30)]
