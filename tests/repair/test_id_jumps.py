from __future__ import annotations

from recorder.core.evidence import Parked
from recorder.core.trade_ids import Run, Span
from recorder.repair.id_jumps import LAST_RETRY_S, RETRY_S, ROUND_S, FarIds
from tests.builders import BTC, ETH, PAIR, T0_US
from tests.clocks import running
from tests.fakes import Fakes

LONE = 1 << 40


class Tail:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.shows = 0

    async def fetch_newest(self, pair: str) -> int | None:
        self.asked.append(pair)
        return None


class Bench(Fakes):
    def __init__(self) -> None:
        super().__init__()
        self.tail, self.seen = Tail(), 0
        self.ledger.observe(Run(PAIR, Span(1, 100), T0_US, T0_US))
        self.ledger.observe(Run(ETH.pair, Span(1, 100), T0_US, T0_US))
        pairs = {BTC.pair: BTC, ETH.pair: ETH}
        self.far_ids = FarIds(self.ledger, self.tail, instruments=pairs, clock=self.clock, hole_seen=self.saw)

    def saw(self) -> None:
        self.seen += 1


async def test_rest_is_asked_of_a_pair_with_parked_ids_ever_more_seldom() -> None:
    bench = Bench()
    async with running(bench.far_ids):
        await bench.pass_time(ROUND_S + 1)
        assert bench.tail.asked == []
        bench.ledger.know(Parked(PAIR, Span(LONE, LONE)))
        await bench.pass_time(ROUND_S)
        assert bench.tail.asked == [PAIR]
        await bench.pass_time(RETRY_S + ROUND_S)
        assert bench.tail.asked == [PAIR, PAIR]
        await bench.pass_time(6 * 3600, step_s=ROUND_S)
        asked = len(bench.tail.asked)
        await bench.pass_time(10 * LAST_RETRY_S, step_s=ROUND_S)
        assert len(bench.tail.asked) - asked in {9, 10}


async def test_rest_is_asked_of_a_gap_that_no_outage_leaves_until_it_shows_its_end() -> None:
    bench = Bench()
    bench.ledger.observe(Run(PAIR, Span(LONE, LONE), T0_US + 1, T0_US + 1))
    bench.ledger.observe(Run(ETH.pair, Span(200, 200), T0_US + 1, T0_US + 1))
    async with running(bench.far_ids):
        assert (bench.tail.asked, bench.seen) == ([PAIR], 0)
        bench.ledger.of(PAIR).shown_id = LONE
        await bench.pass_time(60)
        assert bench.tail.asked == [PAIR]
