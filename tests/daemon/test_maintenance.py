from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

import recorder
from recorder.archive.candles import CandleArchive
from recorder.archive.datasets import MARKET_JOURNAL, QUOTES, Branch
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.daemon.maintenance import REMEMBERED, Maintenance
from recorder.disk import Disk
from recorder.errors import UnlistedFolder, UnreadableFile
from recorder.ingest.quarantined_pairs import RETRIES_S
from recorder.journal import segment
from recorder.ops.exchange_clock import ConfirmedTime
from tests import segments
from tests.archive.candles import candle, rows
from tests.archives import quote, writing
from tests.builders import PAIR, Shop, shop, trades
from tests.clocks import ManualClock, asleep, running, settle_until
from tests.fakes import Fakes
from tests.segments import numbers_in


@contextlib.asynccontextmanager
async def keeping(
    opened: Shop, clock: ManualClock, now_s: Callable[[], float | None] = lambda: None
) -> AsyncIterator[Fakes]:
    fakes = Fakes(clock=clock)
    upkeep = Maintenance(opened.archive, opened.disk, fakes.context, keep_s=86_400, now_s=now_s)
    task = asyncio.create_task(upkeep.run())
    try:
        await asleep(clock)
        yield fakes
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_small_neighbours_are_merged_and_the_ids_stay(tmp_path: Path) -> None:
    clock = ManualClock()
    with shop(tmp_path) as opened:
        for n in range(20):
            opened.archive.append(PAIR, trades(n * 10 + 1, n * 10 + 10))
        async with keeping(opened, clock) as fakes:

            def tidy() -> bool:
                clock.move(61)
                with contextlib.suppress(FileNotFoundError):  # exchanged while it was listed: look again
                    return len(opened.layout.trade_files(PAIR)) <= 6
                return False

            await settle_until(tidy)
        assert opened.ids() == list(range(1, 201))
        value = fakes.value
        assert (value("recorder_files_compacted_total") or 0) >= 8
        assert (value("recorder_compaction_duration_seconds_count") or 0) >= 1


async def test_maintenance_survives_an_unreadable_file_and_skips_quarantined_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, looked = ManualClock(), list[str]()

    def refused(_: object, pair: str, **__: object) -> None:
        looked.append(pair)
        raise UnreadableFile("a.parquet", "Permission denied", "") from PermissionError(13, "Permission denied")

    monkeypatch.setattr("recorder.daemon.maintenance.compact", refused)
    with shop(tmp_path) as opened:
        for pair in (PAIR, "ETH/USD"):
            opened.archive.append(pair, trades(1, 10, pair=pair))
        upkeep = Maintenance(
            opened.archive,
            opened.disk,
            Fakes(clock=clock).context,
            keep_s=86_400,
            now_s=lambda: None,
            quarantined={PAIR},
        )
        task = asyncio.create_task(upkeep.run())
        await asleep(clock)

        def looked_twice() -> bool:
            clock.move(61)
            return len(looked) >= 2

        await settle_until(looked_twice)
        task.cancel()
        await asyncio.wait([task])
    assert set(looked) == {"ETH/USD"}
    assert "compaction refused" in capsys.readouterr().out


async def test_a_disk_fault_is_retried_before_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock()

    def failing(*_: object, **__: object) -> None:
        raise UnreadableFile("a.parquet", "Input/output error", "") from OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("recorder.daemon.maintenance.compact", failing)
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        context = Fakes(clock=clock).context
        task = asyncio.create_task(
            Maintenance(opened.archive, opened.disk, context, keep_s=86_400, now_s=lambda: None).run()
        )
        await asleep(clock)

        def ended() -> bool:
            clock.move(61)
            return task.done()

        await settle_until(ended)
    assert isinstance(task.exception(), UnreadableFile)
    said = capsys.readouterr().out
    assert said.count("the disk is at fault") == len(RETRIES_S)
    assert "compaction refused" not in said


async def test_raw_segments_that_cannot_be_listed_end_no_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(folder: Path) -> list[str]:
        raise UnlistedFolder(folder, "Permission denied") from PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("recorder.daemon.raw_retention.names_in", refused)
    with shop(tmp_path) as opened:
        upkeep = Maintenance(opened.archive, opened.disk, Fakes().context, keep_s=1, now_s=lambda: 1e12)
        assert upkeep._expire_raw() is False
    assert "raw segments not removed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("oldest", "named"),
    [(1, range(1, 20)), (REMEMBERED + 1, range(1, 20)), (REMEMBERED + 11, range(11, 20))],
    ids=["in the journal", "which has lost them since a copy was made", "and long ago"],
)
async def test_tables_without_ids_are_merged_and_forget_retired_segments(
    tmp_path: Path, oldest: int, named: range
) -> None:
    clock = ManualClock()
    with shop(tmp_path) as opened:
        for path in opened.layout.journal.iterdir():
            opened.disk.rename(path, segment.path_of(path.parent, oldest))
        candles = CandleArchive(opened.tables)
        for number in range(20):
            candles.take([candle(number)], number)
            opened.tables.write(segments.named(number))

        def footers() -> list[list[int]]:
            with contextlib.suppress(OSError):  # exchanged while it was listed: look again
                paths = (tmp_path / "ohlc" / "timeframe=1m" / "year=2025").iterdir()
                return list(map(numbers_in, paths))
            return []

        async with keeping(opened, clock):

            def tidy() -> bool:
                clock.move(61)
                return len(footers()) == 1

            await settle_until(tidy)
        assert footers() == [list(named)]
    assert len(rows(tmp_path, "ohlc")) == 20


def raw(opened: Shop, now_s: float) -> Path:
    """Fill raw/ with a segment older than the policy, one younger, and corrupt lines."""
    folder = opened.layout.raw
    for name, age_s in (("000000000001.jsonl.zst", 90_000), ("000000000002.jsonl.zst", 80_000), ("1.corrupt", 1e9)):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (now_s - age_s, now_s - age_s))
    return folder


class Judge:
    """Tells what time it is as upkeep is told, and counts how often it was asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.vouched, self.asked = clock, ConfirmedTime(clock), 0

    def now_s(self) -> float | None:
        self.asked += 1
        return self.vouched.now_s()

    async def rounds(self, more: int) -> None:
        """Let so many rounds of upkeep end."""
        wanted = self.asked + more + 1

        def asked() -> bool:
            if self.clock.sleepers:  # a move a sleep, so that no day passes here
                self.clock.move(61)
            return self.asked >= wanted

        await settle_until(asked)


async def test_raw_segments_expire_by_age_and_corrupt_lines_never(tmp_path: Path) -> None:
    clock = ManualClock()
    now_s, judge = clock.wall_ns() / 1e9, Judge(clock)
    with shop(tmp_path) as opened:
        folder = raw(opened, now_s)
        async with keeping(opened, clock, judge.now_s):
            await judge.rounds(1)
            assert len(list(folder.iterdir())) == 3, "nobody has vouched for the clock yet"
            judge.vouched.take(round(now_s))
            await judge.rounds(1)
        assert sorted(path.name for path in folder.iterdir()) == ["000000000002.jsonl.zst", "1.corrupt"]


@pytest.mark.parametrize("step_s", [31_536_000, -31_536_000])
async def test_a_clock_that_is_set_a_year_ahead_or_back_makes_no_raw_segment_old(tmp_path: Path, step_s: int) -> None:
    clock = ManualClock()
    now_s, judge = clock.wall_ns() / 1e9, Judge(clock)
    judge.vouched.take(round(now_s))
    with shop(tmp_path) as opened:
        folder = raw(opened, now_s)
        (folder / "000000000001.jsonl.zst").unlink()
        async with keeping(opened, clock, judge.now_s):
            clock.step(step_s)
            await judge.rounds(2)
        assert sorted(path.name for path in folder.iterdir()) == ["000000000002.jsonl.zst", "1.corrupt"]


async def test_what_was_written_under_a_clock_that_was_behind_is_as_old_as_it_is(tmp_path: Path) -> None:
    clock = ManualClock()
    judge = Judge(clock)
    judge.vouched.take(round(clock.wall_ns() / 1e9))
    clock.step(-10 * 86_400)
    with shop(tmp_path) as opened:
        opened.journal.append([segment.encode_note(1, "connected")])
        opened.journal.rotate(2)
        (path,) = opened.journal.closed()
        opened.journal.preserve(path, made_s=judge.vouched.latest_s())
        async with keeping(opened, clock, judge.now_s):
            await judge.rounds(1)
            clock.step(10 * 86_400)  # NTP sets it right
            await judge.rounds(2)
            assert len(list(opened.layout.raw.iterdir())) == 1
            clock.move(86_400)
            await judge.rounds(1)
            assert list(opened.layout.raw.iterdir()) == []


async def test_old_rows_go_where_rows_are_kept_for_a_time_and_each_process_keeps_its_own_tables(tmp_path: Path) -> None:
    clock = ManualClock()
    now_s, day_us = clock.wall_ns() / 1e9, 86_400_000_000
    with writing(tmp_path) as archive:
        for day in range(4):
            archive.quoted([quote(day + 1, 0, int(now_s * 1e6) - day * day_us)])
        files = partial(archive.layout.files, Branch(QUOTES, PAIR))
        for journal, left in ((MAIN_JOURNAL, 4), (MARKET_JOURNAL, 2)):
            fakes = Fakes(clock=clock)
            upkeep = Maintenance(
                archive.writer,
                Disk(),
                fakes.context,
                keep_s=0,
                now_s=lambda: now_s,
                of=journal,
                keep_rows_s={QUOTES: 1.5 * 86_400},
            )
            async with running(upkeep):
                await asleep(clock)

                def is_tidy(left: int = left) -> bool:
                    clock.move(61)
                    return len(files()) == left

                await settle_until(is_tidy)


async def test_what_people_put_beside_a_partition_disturbs_nobody(tmp_path: Path) -> None:
    clock = ManualClock()
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        folder = opened.layout.pair_dir(PAIR)
        (folder / "year=2026.bak").mkdir()
        (folder / "year=2025.tar").write_bytes(b"")
        (opened.layout.trades / "pair=foo").write_bytes(b"")
        async with keeping(opened, clock):
            clock.move(61)
            await asleep(clock)
        assert opened.ids() == list(range(1, 11))
        assert opened.layout.pairs() == [PAIR]
    with recorder.connect(tmp_path) as archive:
        assert len(archive.trades(PAIR, on_gap="ignore")) == 10
        assert archive.sql("SELECT count(*) AS n FROM trades", to="arrow").to_pylist() == [{"n": 10}]
