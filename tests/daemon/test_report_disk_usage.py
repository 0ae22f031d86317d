from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recorder.daemon.disk_space import LOOK_S, DiskSpaceWatch
from recorder.daemon.report_disk_usage import EVERY_S, DiskUsage
from recorder.disk import Room
from tests.builders import Shop, shop
from tests.clocks import asleep, running
from tests.fakes import Fakes

GB = 10**9


class Bench(Fakes):
    """A disk of 4,000 GB, and those that look at it."""

    def __init__(self, opened: Shop) -> None:
        super().__init__()
        self.free = 1_000 * GB
        self.space = DiskSpaceWatch(
            opened.layout,
            opened.disk,
            self.context,
            spare=lambda _: None,
            full=lambda: None,
            raw=threading.Lock(),
            room=lambda _: Room(self.free, 4_000 * GB),
        )
        self.survey = DiskUsage(opened.layout.data, self.space, self.context)

    def room(self) -> list[float | None]:
        return [self.value(f"recorder_disk_{name}") for name in ("free_bytes", "size_bytes", "runway_seconds")]

    @contextlib.asynccontextmanager
    async def looked_at(self) -> AsyncIterator[None]:
        async with running(self.space, self.survey):
            await self.asleep()
            yield

    async def asleep(self) -> None:
        await asleep(self.clock, 2)


async def test_the_room_is_shown_as_it_was_found_and_how_long_it_will_do(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        bench = Bench(opened)
        assert bench.room() == [pytest.approx(math.nan, nan_ok=True)] * 2 + [math.inf]
        assert bench.space.low_bytes == 0
        async with bench.looked_at():
            assert bench.room() == [1_000 * GB, 4_000 * GB, math.inf]
            assert bench.space.low_bytes == 2 * GB
            bench.clock.move(7200)
            await bench.asleep()
            bench.free -= 10 * GB
            bench.clock.move(LOOK_S)
            await bench.asleep()
            assert bench.room()[2] == pytest.approx(99 * 7200, rel=0.01)
            assert bench.space.low_bytes == pytest.approx(120 * GB, rel=0.01), "a day of what goes"


async def test_files_and_their_bytes_are_counted_again_and_again(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        bench = Bench(opened)
        async with bench.looked_at():
            files, size = (bench.value(f"recorder_archive_{name}") or 0 for name in ("files", "bytes"))
            (tmp_path / "another").write_bytes(b"x" * 10_000)
            bench.clock.move(EVERY_S)
            await bench.asleep()
            assert bench.value("recorder_archive_files") == files + 1
            assert (bench.value("recorder_archive_bytes") or 0) >= size + 10_000
