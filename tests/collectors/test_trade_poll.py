from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import msgspec
import pytest

from recorder.collectors.trade_poll import LAST_RETRY_S, PollCollector
from recorder.core.model import Instrument
from recorder.core.trade_ids import Run, Span
from recorder.errors import Unavailable, UnknownPair
from recorder.kraken import records
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from tests.builders import BTC, ETH, PAIR, T0_US, trades
from tests.clocks import running
from tests.fakes import FakeHttp, Fakes, Promised


class Bench(Fakes):
    """Polls a fake exchange; what is polled is claimed at once, as the commit would."""

    def __init__(self, last: int, *, everything: bool = False) -> None:
        self.http = FakeHttp(last)
        super().__init__(self.http)
        self.instruments, self.promises, self.refreshes = {PAIR: BTC}, Promised(), 0
        self.resting: set[str] = set()
        self.poll = PollCollector(
            self.ledger,
            self.context,
            instruments=self.instruments,
            promises=self.promises,
            refresh_soon=self.refresh_soon,
            everything=everything,
            is_paused=lambda pair: pair in self.resting,
        )

    def refresh_soon(self) -> None:
        self.refreshes += 1

    def change(self, *, come: Sequence[Instrument] = (), go: Sequence[str] = ()) -> None:
        """Let pairs come and go, as the roster does: the mapping first."""
        self.instruments.update((instrument.pair, instrument) for instrument in come)
        for pair in go:
            del self.instruments[pair]
        self.poll.follow(come, go)

    async def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        for _ in range(int(seconds / step_s)):
            await super().pass_time(step_s, step_s)
            self.journalled()

    def ids(self) -> list[int]:
        """Return the ids of all that was journalled."""
        return [t.trade_id for e in self.entries for t in records.trades(e)]

    @property
    def held(self) -> list[Span]:
        return list(self.ledger.of(PAIR).spans)


@contextlib.asynccontextmanager
async def polling(last: int, *, everything: bool = False) -> AsyncIterator[Bench]:
    bench = Bench(last, everything=everything)
    async with running(bench.poll):
        yield bench


async def test_a_pair_that_rests_is_not_asked_for_and_is_again_afterwards() -> None:
    bench = Bench(10, everything=True)
    bench.resting.add(PAIR)
    task = asyncio.create_task(bench.poll.run())
    try:
        await bench.pass_time(30)
        assert bench.held == []
        bench.resting.clear()
        await bench.pass_time(30)
        assert bench.held == [Span(1, 10)]
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_odd_rows_at_the_end_of_a_page_do_not_hold_polling_up() -> None:
    async with polling(100) as bench:
        bench.poll.take_over(PAIR)
        await bench.pass_time(6)
        bench.http.odd = {one: f'["1","1",{(T0_US + one * 1000) / 1e6},"b","l",null,{one}]' for one in range(102, 300)}
        bench.http.last = 350
        await bench.pass_time(40)
        assert set(bench.ids()) >= {101, *range(300, 351)}
        assert not set(bench.ids()) & set(range(102, 300))


async def test_only_pairs_taken_over_and_not_handed_back_are_polled() -> None:
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
        assert set(bench.ids()) == set(range(401, 531))
        lines = len(bench.entries)
        await bench.pass_time(30)
        assert len(bench.entries) == lines, "an answer without news is not journalled"


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


def names(bench: Bench) -> list[str]:
    return [dict(request.params)["pair"] for request in bench.http.asked]


async def test_when_polling_everything_pairs_are_added_and_dropped_with_the_list() -> None:
    async with polling(10, everything=True) as bench:
        await bench.pass_time(1)
        assert names(bench) == ["XBTUSD"]
        bench.change(come=[ETH])
        await bench.pass_time(1)
        assert names(bench) == ["XBTUSD", "ETHUSD"]
        bench.change(go=[PAIR])
        await bench.pass_time(12)
        assert set(names(bench)[2:]) == {"ETHUSD"}
        bench.change(go=["ETH/USD"])
        asked = len(bench.http.asked)
        await bench.pass_time(60)
        assert len(bench.http.asked) == asked


async def test_when_streaming_added_pairs_are_not_polled_and_dropped_ones_no_more() -> None:
    async with polling(10) as bench:
        bench.change(come=[ETH])
        bench.poll.take_over(PAIR)
        await bench.pass_time(6)
        assert set(names(bench)) == {"XBTUSD"}
        bench.change(go=[PAIR])
        asked = len(bench.http.asked)
        await bench.pass_time(60)
        assert len(bench.http.asked) == asked


async def test_a_pair_dropped_during_its_request_is_forgotten_and_its_answer_stored() -> None:
    async with polling(10) as bench:
        answered, get = asyncio.Event(), bench.http.get

        async def slow(request: Request) -> HttpAnswer:
            answer = await get(request)
            await answered.wait()
            return answer

        bench.http.get = slow  # type: ignore[method-assign]
        bench.poll.take_over(PAIR)
        await bench.pass_time(1)
        bench.change(go=[PAIR])
        answered.set()
        await bench.pass_time(20)
        assert len(bench.http.asked) == 1
        assert bench.held == [Span(1, 10)]
        assert bench.poll._since_ns == bench.poll._due_s == {}


async def test_an_instrument_that_changes_its_name_is_asked_for_by_the_new_one() -> None:
    async with polling(10) as bench:
        bench.poll.take_over(PAIR)
        await bench.pass_time(1)
        bench.instruments[PAIR] = msgspec.structs.replace(BTC, altname="BTCUSD")
        await bench.pass_time(5)
        assert names(bench) == ["XBTUSD", "BTCUSD"]


async def test_an_unknown_pair_triggers_the_listing_and_is_retried_with_backoff() -> None:
    async with polling(10) as bench:
        bench.http.problems = [UnknownPair("EQuery:Unknown asset pair") for _ in range(9)]
        bench.poll.take_over(PAIR)
        moments: list[int] = []
        for second in range(6000):
            asked = len(bench.http.asked)
            await bench.pass_time(1)
            moments += [second] * (len(bench.http.asked) - asked)
            if bench.held:
                break
        waits = [after - before for before, after in pairwise(moments)]
        assert waits == [15, 30, 60, 120, 240, 480, 900, 900, 900]
        assert max(waits) == LAST_RETRY_S
        assert bench.refreshes == 9
        await bench.pass_time(5)
        bench.http.problems = [UnknownPair("EQuery:Unknown asset pair")]
        asked = len(bench.http.asked)
        await bench.pass_time(25)
        assert len(bench.http.asked) - asked >= 2, "once it was answered, the wait begins anew"


async def test_no_pair_is_polled_before_it_is_promised() -> None:
    async with polling(10) as bench:
        bench.promises.may.clear()
        bench.poll.take_over(PAIR)
        await bench.pass_time(20)
        assert bench.http.asked == []
        bench.promises.may.set()
        await bench.pass_time(1)
        assert len(bench.http.asked) == 1
        assert bench.promises.pairs == [PAIR]


IN_2102_US, IN_2013_US = 4_176_528_432_000_000, 1_370_000_000_000_000


@pytest.mark.parametrize("odd_us", [IN_2102_US, IN_2013_US, 0, -62_135_596_800_000_000])
async def test_an_odd_newest_time_misleads_at_most_one_request(odd_us: int) -> None:
    async with polling(0) as bench:
        bench.ledger.observe(Run(PAIR, Span(100, 100), odd_us, odd_us))
        bench.http.last = 150
        bench.poll.take_over(PAIR)
        await bench.pass_time(20)
        assert bench.ledger.of(PAIR).spans.last == 150
        bench.http.last = 160
        await bench.pass_time(20)
        assert bench.ledger.of(PAIR).spans.last == 160
