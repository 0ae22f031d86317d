from __future__ import annotations

import asyncio

import pytest

from recorder.core.evidence import Renumbered, Void
from recorder.core.trade_ids import Span
from recorder.disk import Room
from recorder.errors import CheckFailed, DiskError, Unavailable, UnknownPair
from recorder.repair import backfill, fetch_trades
from recorder.repair.backfill import FIRST_RETRY_S, Backfill, Progress, Stretch
from recorder.repair.fetch_trades import Fetcher
from tests.builders import BTC, PAIR, T0_US, Shop, trades
from tests.clocks import asleep
from tests.fakes import FakeHttp, Fakes

MB = 10**6


def at(trade_id: int) -> int:
    """When FakeHttp's trade was made."""
    return T0_US + trade_id * 1000


class Bench(Fakes):
    def __init__(self, opened: Shop) -> None:
        self.opened, self.http = opened, FakeHttp()
        super().__init__(self.http)
        instruments = {PAIR: BTC}
        fetcher = Fetcher(
            self.ledger,
            opened.archive,
            self.exchange,
            instruments=instruments,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.tidied: list[str] = []
        self.free = [1_000 * MB]
        """Bytes that are free at each look; low is below 1,000 MB."""
        self.backfill = Backfill(
            self.ledger,
            opened.archive.coverage,
            fetcher,
            self.exchange,
            instruments=instruments,
            tidy=self.tidied.append,
            room=lambda: Room(self.free.pop(0) if len(self.free) > 1 else self.free[0], 10_000 * MB),
            clock=self.clock,
        )
        self.told: list[Progress] = []

    async def find(self, from_us: int, to_us: int) -> Stretch | None:
        return await self.backfill.find(PAIR, from_us, to_us)

    async def fill(self, stretch: Stretch | None) -> list[Span]:
        assert stretch is not None
        return await self.backfill.fill(stretch, self.told.append)


@pytest.fixture
def bench(opened: Shop) -> Bench:
    return Bench(opened)


@pytest.mark.parametrize(
    ("from_us", "to_us", "span"),
    [
        (at(2_000), at(3_000), Span(1_999, 2_999)),  # the last trade before the range belongs to it
        (at(2_000) - 1, at(3_000) + 1, Span(1_999, 3_000)),
        (0, at(500), Span(1, 499)),
        (at(1), at(5), Span(1, 4)),  # there is none before
        (0, at(10**6), Span(1, 10_000)),  # until now
        (at(-(10**6)), at(5), Span(1, 4)),
    ],
)
async def test_a_range_of_time_is_found_as_ids(bench: Bench, from_us: int, to_us: int, span: Span) -> None:
    stretch = await bench.find(from_us, to_us)
    assert stretch == Stretch(PAIR, span, at(span.first), to_us)
    assert len(bench.http.asked) <= 8


async def test_a_range_without_a_trade_before_its_end_is_none(bench: Bench) -> None:
    assert await bench.find(0, at(1)) is None
    bench.http.last = 0
    assert await bench.find(0, at(10)) is None


async def test_it_fetches_a_range_and_nothing_else(bench: Bench) -> None:
    assert await bench.fill(await bench.find(at(2_000), at(3_000))) == []
    assert bench.opened.ids() == list(range(1_999, 3_000))
    assert bench.told[-1] == Progress(held=1_001)


async def test_what_is_held_or_void_is_not_fetched_again(bench: Bench) -> None:
    bench.opened.archive.append(PAIR, trades(1, 4_000))
    bench.opened.archive.append(PAIR, trades(4_101, 9_000))
    bench.ledger.know(Void(PAIR, Span(4_040, 4_050)))
    stretch = await bench.find(0, at(9_001))
    assert stretch is not None
    assert [hole.span for hole in bench.backfill.missing(stretch)] == [Span(4_001, 4_039), Span(4_051, 4_100)]
    asked = len(bench.http.asked)
    await bench.fill(stretch)
    assert len(bench.http.asked) - asked <= 4
    assert set(range(1, 9_001)) - set(bench.opened.ids()) <= set(range(4_040, 4_051))


async def test_it_goes_on_where_another_process_came_to(bench: Bench) -> None:
    stretch = await bench.find(at(2_000), at(3_000))
    bench.opened.archive.append(PAIR, trades(1_990, 2_900))  # a daemon on the same archive
    asked = len(bench.http.asked)
    await bench.fill(stretch)
    assert len(bench.http.asked) - asked <= 2
    assert bench.opened.ids() == list(range(1_990, 3_000))


async def test_it_waits_for_an_exchange_that_is_out_of_reach_and_says_so(bench: Bench) -> None:
    stretch = await bench.find(at(2_000), at(3_000))
    bench.http.problems = [Unavailable("HTTP 502")]
    filling = asyncio.create_task(bench.fill(stretch))
    await asleep(bench.clock)
    assert bench.told[-1] == Progress(held=0, waiting="HTTP 502")
    bench.clock.move(FIRST_RETRY_S)
    assert await filling == []
    assert bench.told[-1] == Progress(held=1_001)


async def test_an_answer_that_asking_again_cannot_mend_ends_it(bench: Bench) -> None:
    stretch = await bench.find(at(2_000), at(3_000))
    bench.http.problems = [UnknownPair("EQuery:Unknown asset pair")]
    with pytest.raises(UnknownPair):
        await bench.fill(stretch)


async def test_ids_that_are_not_served_are_told_and_do_not_keep_the_others(bench: Bench) -> None:
    stretch = await bench.find(at(2_000), at(3_000))
    assert stretch is not None
    bench.http.last = 2_500  # an exchange that has lost its newest trades
    assert await bench.fill(stretch) == [Span(2_501, 2_999)]
    assert bench.opened.ids() == list(range(1_999, 2_501))


async def test_its_small_files_are_merged_now_and_then_and_at_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_trades, "BATCH_ROWS", 50)
    monkeypatch.setattr(backfill, "TIDY_BATCHES", 3)
    await bench.fill(await bench.find(at(1), at(750)))
    batches = sum(len(list(year.glob("*.parquet"))) for year in bench.opened.layout.years(PAIR))
    assert len(bench.tidied) == batches // 3 + 1 >= 3


async def test_a_backfill_ends_before_the_disk_is_full_and_can_be_continued(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_trades, "BATCH_ROWS", 50)
    stretch = await bench.find(at(2_000), at(3_000))
    bench.free = [1_000 * MB, 1_000 * MB, 999 * MB]
    with pytest.raises(
        DiskError, match=r"BTC/USD: stopped at (\d+) of 1,001 trades.* 999\.0 MB left, .*1,000\.0 MB"
    ) as told:
        await bench.fill(stretch)
    held, asked = bench.opened.ids(), len(bench.http.asked)
    assert 0 < len(held) < 1_001
    assert f"stopped at {len(held)} of" in str(told.value)
    with pytest.raises(DiskError):
        await bench.fill(stretch)
    assert (bench.opened.ids(), len(bench.http.asked)) == (held, asked), "nothing is asked for without room"
    bench.free = [1_000 * MB]
    assert await bench.fill(stretch) == []
    assert bench.opened.ids() == list(range(1_999, 3_000))


async def test_of_a_pair_that_is_numbered_anew_nothing_is_fetched(opened: Shop) -> None:
    bench = Bench(opened)
    bench.ledger.know(Renumbered(PAIR, Span(1, 2), T0_US, T0_US))
    with pytest.raises(CheckFailed, match="numbers BTC/USD anew"):
        await bench.find(at(1), at(9))
    assert bench.http.asked == []
