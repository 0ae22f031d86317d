from __future__ import annotations

from recorder.core.ledger import Ledger, PairLedger
from recorder.core.trade_ids import Run, Span
from recorder.daemon.status_line import EVERY_S, StatusLine
from tests.clocks import ManualClock, running, settle

AT_US = 1_783_465_205_000_000
"""2026-07-07T23:00:05Z"""


def run(pair: str, first: int, last: int, last_us: int = AT_US) -> Run:
    return Run(pair, Span(first, last), AT_US - 1_000_000, last_us)


async def test_the_line_tells_trades_pairs_gaps_and_the_last_trade_once_a_second() -> None:
    ledger, clock, pairs = Ledger(), ManualClock(), ["BTC/USD"]
    problems: list[str] = []
    shown: list[str] = []
    async with running(StatusLine(ledger, pairs, lambda: problems, clock=clock, show=shown.append)):
        ledger.observe(run("BTC/USD", 1_000, 3_000))
        pairs.append("ETH/EUR")
        clock.move(EVERY_S)
        await settle()
        ledger.observe(run("ETH/EUR", 1, 1))
        ledger.observe(run("BTC/USD", 3_011, 3_012, AT_US + 61_000_000))
        clock.move(EVERY_S / 2)
        await settle()
        assert len(shown) == 2
        clock.move(EVERY_S / 2)
        await settle()
        problems.append("no data or heartbeat came for 12 s: the stream is down")
        clock.move(EVERY_S)
        await settle()
    assert shown == [
        "+0 trades, 1 pair, 0 gaps, no trade yet",
        "+2,001 trades, 2 pairs, 0 gaps, last 23:00:05",
        "+2,004 trades, 2 pairs, 1 gap (10 ids), last 23:01:06",
        "+2,004 trades, 2 pairs, 1 gap (10 ids), last 23:01:06; no data or heartbeat came for 12 s: the stream is down",
    ]


async def test_trades_held_before_do_not_count_and_trades_taken_away_are_no_negative_number() -> None:
    ledger, clock = Ledger(), ManualClock()
    shown: list[str] = []
    ledger.observe(run("BTC/USD", 1, 10))
    async with running(StatusLine(ledger, ["BTC/USD"], list, clock=clock, show=shown.append)):
        ledger.observe(run("BTC/USD", 11, 11))
        clock.move(EVERY_S)
        await settle()
        ledger.mark()
        ledger.restate([PairLedger("BTC/USD")])
        clock.move(EVERY_S)
        await settle()
    assert [line.partition(",")[0] for line in shown] == ["+0 trades", "+1 trade", "+0 trades"]
