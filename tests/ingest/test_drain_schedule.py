from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.core.trade_ids import runs_of
from recorder.ingest import drain_schedule
from recorder.ingest.commit import Commit
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal import segment
from recorder.runtime.inbox import Inbound
from tests.builders import PAIR, Shop, shop, trades
from tests.clocks import settle, settle_until
from tests.fakes import Fakes
from tests.ingest.closed_segments import drainer, journalled, line


def draining(
    opened: Shop, fakes: Fakes, *, every_s: Callable[[int], float] = lambda _: 300.0
) -> tuple[Commit, DrainSchedule]:
    commit = Commit(
        opened.journal,
        fakes.ledger,
        fakes.context,
        sync_every_s=0.1,
        hole_seen=lambda: None,
        parking=ParkedIds(fakes.ledger, lambda _: []),
    )
    moving = drainer(opened, metrics=fakes.metrics)
    drain = DrainSchedule(
        moving, opened.journal, commit, every_s=every_s, pairs=[PAIR], drained=lambda _: None, clock=fakes.clock
    )
    return commit, drain


def test_segments_are_drained_together_up_to_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_schedule, "TOGETHER_BYTES", 10)
    paths = [tmp_path / name for name in "abcde"]
    for path, size in zip(paths, (4, 6, 12, 1, 1), strict=True):
        path.write_bytes(bytes(size))
    assert [[path.name for path in part] for part in drain_schedule.together(paths)] == [["a", "b"], ["c"], ["d", "e"]]


async def test_it_drains_on_time_when_many_wait_and_once_more_when_stopped(tmp_path: Path, fakes: Fakes) -> None:
    clock, inbox = fakes.clock, fakes.inbox
    with shop(tmp_path) as opened:
        commit, drain = draining(opened, fakes)
        running = asyncio.create_task(drain.run())

        async def arrives(trade_id: int) -> None:
            await inbox.put(Inbound(line(trade_id, trade_id), runs_of(trades(trade_id, trade_id))))
            await commit.flush()

        await settle_until(lambda: clock.sleepers == 1)
        await arrives(1)
        assert opened.ids() == []
        clock.move(300)
        await settle_until(lambda: opened.ids() == [1])
        await arrives(2)
        commit.drain_due.set()
        await settle_until(lambda: opened.ids() == [1, 2])
        await arrives(3)
        drain.stop()
        await running
        assert opened.ids() == [1, 2, 3]


async def test_the_time_to_the_next_drain_follows_what_it_goes_by_while_it_waits(tmp_path: Path, fakes: Fakes) -> None:
    clock, inbox, every = fakes.clock, fakes.inbox, [900.0]
    with shop(tmp_path) as opened:
        commit, drain = draining(opened, fakes, every_s=lambda _: every[0])
        running = asyncio.create_task(drain.run())
        await settle_until(lambda: clock.sleepers == 1)
        for trade_id, (every_s, wait_s) in enumerate([(300.0, 200), (900.0, 800), (50.0, 0)], 1):
            await inbox.put(Inbound(line(trade_id, trade_id), runs_of(trades(trade_id, trade_id))))
            await commit.flush()
            clock.move(100)
            every[0] = every_s
            drain.follow([], ["GONE/USD"])
            assert drain.every_s == every_s
            if wait_s:
                await settle()
                clock.move(wait_s - 1)
                await settle()
                assert drain.drained_s() == wait_s + 99
                clock.move(1)
            await settle_until(lambda: drain.drained_s() == 0)
            assert opened.ids()[-1] == trade_id
            await settle_until(lambda: bool(clock.waking_ns))
        drain.stop()
        await running


async def test_a_drain_is_timed_and_what_waits_for_one_is_weighed(tmp_path: Path, fakes: Fakes) -> None:
    clock, value = fakes.clock, fakes.value
    with shop(tmp_path) as opened:
        _, drain = draining(opened, fakes)
        assert drain.every_s == 300
        journalled(opened, line(1, 3))
        opened.journal.append([line(4, 4)])
        lying = [path.stat().st_size for path in (tmp_path / "journal").iterdir()]
        assert len(lying) == 2
        assert value("recorder_journal_bytes") == sum(lying)
        clock.move(100)
        assert drain.drained_s() == 100
        await drain.everything()
        assert drain.drained_s() == 0
        assert value("recorder_journal_bytes") == sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
        assert len(segment.segments(tmp_path / "journal")) == 1
        assert value("recorder_drain_duration_seconds_count") == 1
        assert value("recorder_last_drain_timestamp_seconds") == clock.wall_ns() / 1e9
        assert value("recorder_rows_archived_total") == 4
