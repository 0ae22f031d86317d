from __future__ import annotations

from recorder.core.evidence import Confirmed
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Run, Span
from recorder.ops.exchange_clock import ConfirmedTime
from recorder.repair.confirm_days import AFTER_S, RETRY_S, ROUND_S, ConfirmDays
from tests.builders import BTC, PAIR
from tests.clocks import ManualClock, running, settle

MIDNIGHT_S = 1_783_468_800
"""2026-07-08 00:00 UTC."""


class Bench:
    """``confirmer`` that only counts, unless it is to confirm."""

    def __init__(self, now_s: float) -> None:
        self.clock, self.ledger, self.asked = ManualClock(round(now_s * 1e9)), Ledger(), 0
        self.until_us: int | None = None
        self.instruments = {PAIR: BTC}
        self.vouched = ConfirmedTime(self.clock)
        self.vouched.take(round(now_s))
        self.task = ConfirmDays(
            self.ledger, self, instruments=self.instruments, now_s=self.vouched.now_s, clock=self.clock
        )

    async def confirm(self, pair: str) -> bool:
        assert pair == PAIR
        self.asked += 1
        if self.until_us is not None:
            self.ledger.know(Confirmed(PAIR, 9, self.until_us))
        return self.until_us is not None

    def trade(self, trade_id: int, time_s: float) -> None:
        time_us = round(time_s * 1e6)
        self.ledger.observe(Run(PAIR, Span(trade_id, trade_id), time_us, time_us))

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / ROUND_S)):
            self.clock.move(ROUND_S)
            await settle()


async def test_a_pair_silent_over_midnight_is_requested_once_some_minutes_later() -> None:
    bench = Bench(MIDNIGHT_S - 600)
    bench.trade(9, MIDNIGHT_S - 7200)
    bench.until_us = (MIDNIGHT_S + 100) * 1_000_000
    async with running(bench.task):
        await bench.pass_time(600 + AFTER_S - ROUND_S)
        assert bench.asked == 0
        await bench.pass_time(ROUND_S)
        assert bench.asked == 1
        await bench.pass_time(10 * RETRY_S)
        assert bench.asked == 1


async def test_pairs_that_traded_since_or_never_need_no_confirmation() -> None:
    bench = Bench(MIDNIGHT_S + 4000)
    async with running(bench.task):
        await bench.pass_time(600)
        bench.trade(9, MIDNIGHT_S + 1)
        await bench.pass_time(600)
    assert bench.asked == 0


async def test_an_unconfirmed_pair_is_requested_again_15_minutes_later() -> None:
    bench = Bench(MIDNIGHT_S + 4000)
    bench.trade(9, MIDNIGHT_S - 7200)
    async with running(bench.task):
        assert bench.asked == 1
        await bench.pass_time(RETRY_S - ROUND_S)
        assert bench.asked == 1
        await bench.pass_time(ROUND_S)
        assert bench.asked == 2
        del bench.instruments[PAIR]
        await bench.pass_time(2 * RETRY_S)
        assert bench.asked == 2


async def test_a_clock_a_day_ahead_requests_no_confirmation_of_an_unfinished_day() -> None:
    bench = Bench(MIDNIGHT_S + 4000)
    bench.trade(9, MIDNIGHT_S + 1000)
    bench.clock.step(86_400)
    async with running(bench.task):
        await bench.pass_time(2 * RETRY_S)
    assert bench.asked == 0


async def test_nobody_is_asked_before_an_answer_vouches_for_the_time() -> None:
    bench = Bench(MIDNIGHT_S + 4000)
    bench.vouched.__init__(bench.clock)  # type: ignore[misc]
    bench.trade(9, MIDNIGHT_S - 7200)
    async with running(bench.task):
        await bench.pass_time(ROUND_S)
        assert bench.asked == 0
        bench.vouched.take(MIDNIGHT_S + 4060)
        await bench.pass_time(ROUND_S)
        assert bench.asked == 1


async def test_a_last_trade_stamped_years_ahead_vouches_for_no_day_before_then() -> None:
    bench = Bench(MIDNIGHT_S + 4000)
    bench.trade(9, 4_176_528_432)
    async with running(bench.task):
        assert bench.asked == 1
        bench.until_us = (MIDNIGHT_S + 100) * 1_000_000
        await bench.pass_time(10 * RETRY_S)
        assert bench.asked == 2
