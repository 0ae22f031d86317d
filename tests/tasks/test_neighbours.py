from __future__ import annotations

from pathlib import Path

from recorder.archive.append import TradeArchive
from recorder.core.ledger import Ledger
from recorder.tasks.neighbours import LOOK_S, Neighbours
from tests.builders import PAIR, shop, trades
from tests.clocks import ManualClock, asleep, running, settle_until


async def test_what_another_process_adds_is_learnt_and_the_hole_that_it_opens_is_told(tmp_path: Path) -> None:
    clock, ledger = ManualClock(), Ledger()
    told: list[str] = []
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(101, 110))
        opened.archive.coverage.observe_into(ledger, PAIR)
        other = TradeArchive(opened.layout, opened.disk, staging=opened.archive.staging)
        looking = Neighbours(
            ledger,
            opened.archive,
            pairs=[PAIR],
            hole_seen=lambda: told.append(str(ledger.of(PAIR).gaps())),
            clock=clock,
        )
        async with running(looking):
            for _ in range(2):  # nothing is new
                await asleep(clock)
                clock.move(LOOK_S + 1)
            await asleep(clock)
            assert told == []
            other.append(PAIR, trades(1, 50))
            clock.move(LOOK_S + 1)
            await settle_until(lambda: bool(told))
    assert [hole.span.first for hole in ledger.of(PAIR).gaps()] == [51]
    assert len(told) == 1


async def test_a_damaged_file_or_one_that_vanishes_does_not_keep_it_from_the_other_pairs(tmp_path: Path) -> None:
    clock, ledger = ManualClock(), Ledger()
    told: list[str] = []
    with shop(tmp_path) as opened:
        year = opened.layout.year_dir("AAA/USD", 2026)
        year.mkdir(parents=True)
        (year / "000000000001-000000000009-0.parquet").write_bytes(b"no Parquet")
        opened.archive.append(PAIR, trades(1, 10))
        looking = Neighbours(
            ledger, opened.archive, pairs=["AAA/USD", PAIR], hole_seen=lambda: told.append(""), clock=clock
        )
        async with running(looking):
            await asleep(clock)
            clock.move(LOOK_S + 1)
            await settle_until(lambda: bool(told))
    assert ledger.of(PAIR).spans.count() == 10
