from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from recorder import disk
from recorder.disk import Room
from recorder.ops.metrics import Metrics
from recorder.ops.survey import Size
from recorder.ops.survey import measure as measured
from recorder.tasks import survey as survey_module
from recorder.tasks.survey import COUNT_EVERY, EVERY_S, Survey
from tests.sandbox.conftest import ManualClock
from tests.tasks.support import settle_until


async def test_files_room_and_runway_are_looked_at_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, looks, counts = 1_000_000_000_000, 0, 0

    def room(path: Path) -> Room:
        nonlocal looks
        assert path == tmp_path
        looks += 1
        return Room(free, 4_000_000_000_000)

    def measure(path: Path) -> Size:
        nonlocal counts
        counts += 1
        return measured(path)

    monkeypatch.setattr(disk, "room", room)
    monkeypatch.setattr(survey_module, "measure", measure)
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    clock, metrics = ManualClock(), Metrics()
    value = metrics.registry.get_sample_value
    survey = Survey(tmp_path, clock=clock, metrics=metrics)
    assert survey.room is None
    assert survey.low_bytes == 0
    running = asyncio.create_task(survey.run())
    await settle_until(lambda: looks == 1 and survey.room is not None)
    assert value("recorder_archive_files") == 1
    assert (value("recorder_archive_bytes") or 0) >= 10_000
    assert value("recorder_disk_free_bytes") == free
    assert value("recorder_disk_size_bytes") == 4_000_000_000_000
    assert value("recorder_disk_runway_seconds") == math.inf
    assert survey.low_bytes == 2_000_000_000
    for look in range(1, 121):  # two hours, in which 10 GB go
        free -= 10_000_000_000 // 120
        await settle_until(lambda: len(clock._sleepers) == 1)
        clock.move(EVERY_S)
        await settle_until(lambda due=look: looks == due + 1 and len(clock._sleepers) == 1)  # type: ignore[misc]
    assert counts == 120 // COUNT_EVERY + 1
    assert value("recorder_disk_runway_seconds") == pytest.approx(99 * 7200, rel=0.02)
    assert survey.low_bytes == pytest.approx(120_000_000_000, rel=0.02)  # a day of what goes
    running.cancel()
