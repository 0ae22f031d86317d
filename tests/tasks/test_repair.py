from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs

from recorder.core.ledger import Ledger
from recorder.errors import Unavailable, UnknownPair
from recorder.kraken.rest import Request
from recorder.net.http import Answer, Http
from recorder.ops.metrics import Metrics
from recorder.tasks.repair import Repair
from tests.sandbox.conftest import ManualClock
from tests.tasks.support import BTC, PAIR, FakeHttp, Shop, settle, settle_until, shop, trades

ETH = type(BTC)(
    **{field: getattr(BTC, field) for field in BTC.__struct_fields__} | {"pair": "ETH/USD", "altname": "ETHUSD"}
)


class Bench:
    def __init__(self, opened: Shop) -> None:
        self.opened, self.http, self.clock, self.ledger = opened, FakeHttp(), ManualClock(), Ledger()
        self.repair = Repair(
            self.ledger,
            opened.archive,
            cast("Http", self.http),
            instruments={PAIR: BTC, "ETH/USD": ETH},
            clock=self.clock,
            metrics=Metrics(),
        )

    def hold(self, *spans: tuple[int, int], pair: str = PAIR) -> None:
        for first, last in spans:
            self.ledger.observe_trades(trades(first, last, pair=pair))


@contextlib.asynccontextmanager
async def repairing(tmp_path: Path) -> AsyncIterator[tuple[Bench, Callable[[], None]]]:
    with shop(tmp_path) as opened:
        bench = Bench(opened)
        started: list[asyncio.Task[None]] = []
        try:
            yield bench, lambda: started.append(asyncio.create_task(bench.repair.run()))
        finally:
            for task in started:
                task.cancel()
                await asyncio.wait([task])


async def test_a_hole_is_fetched_archived_and_then_counted_as_held(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        start()
        await settle_until(lambda: not bench.ledger.holes(PAIR))
        assert bench.opened.ids() == list(range(11, 500))
        assert 5 <= len(bench.http.asked) <= 7


async def test_a_hole_seen_later_wakes_it(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        start()
        await settle()
        bench.hold((1, 10), (20, 30))
        await settle()
        assert bench.http.asked == []
        bench.repair.hole_seen()
        await settle_until(lambda: not bench.ledger.holes(PAIR))


async def test_a_refused_repair_leaves_its_hole_open_and_is_tried_again(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (20, 30))
        bench.http.problems = [Unavailable("HTTP 502"), UnknownPair("EQuery:Unknown asset pair")]
        start()
        await settle_until(lambda: len(bench.clock._sleepers) == 1)
        assert bench.ledger.holes(PAIR)
        bench.clock.move(4.9)
        await settle()
        assert len(bench.http.asked) == 1
        bench.clock.move(0.2)
        await settle_until(lambda: len(bench.http.asked) == 2 and len(bench.clock._sleepers) == 1)
        bench.clock.move(10.1)
        await settle_until(lambda: not bench.ledger.holes(PAIR))


async def test_ids_that_the_exchange_does_not_serve_stay_a_hole(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        bench.http.last = 300
        start()
        await settle_until(lambda: len(bench.clock._sleepers) == 1)
        (hole,) = bench.ledger.holes(PAIR)
        assert (hole.span.first, hole.span.last) == (301, 499)
        assert bench.opened.ids() == list(range(11, 301))


async def test_a_problem_half_way_keeps_what_came_before_it(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        real_get = bench.http.get

        async def get(request: Request) -> Answer:
            if len(bench.http.asked) == 2:
                bench.http.problems = [Unavailable("truncated")]
            return await real_get(request)

        bench.http.get = get  # type: ignore[method-assign]
        start()
        await settle_until(lambda: len(bench.clock._sleepers) == 1)
        assert bench.opened.ids() == list(range(11, 11 + len(bench.opened.ids())))
        assert len(bench.opened.ids()) > 100


async def test_newest_holes_come_first(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (20, 30))
        bench.hold((1, 10), (2000, 2010), pair="ETH/USD")
        start()
        await settle_until(lambda: not bench.ledger.holes(PAIR) and not bench.ledger.holes("ETH/USD"))
        pairs = [parse_qs(request.target.partition("?")[2])["pair"][0] for request in bench.http.asked]
        assert pairs[0] == "ETHUSD"
        assert pairs[-1] == "XBTUSD"
