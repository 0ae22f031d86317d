"""Look now and then how large the archive is and how long its disk will do, for those who watch."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Final

from recorder import disk
from recorder.clock import Clock
from recorder.core.room import Growth, marks
from recorder.disk import Room
from recorder.ops.metrics import Metrics
from recorder.ops.survey import Size, measure

EVERY_S: Final = 60.0
"""How often free space is looked at, which takes microseconds."""
COUNT_EVERY: Final = 10
"""Files are counted each so many looks: 20,000 of them take a tenth of a second of a thread."""
_DAY_S: Final = 86_400.0


class Survey:
    """Looks at the archive in the folder ``data``; :attr:`room` is None before the first look."""

    def __init__(self, data: Path, *, clock: Clock, metrics: Metrics) -> None:
        self._data = data
        self._clock = clock
        self._metrics = metrics
        self._growth = Growth()
        self.room: Room | None = None

    @property
    def low_bytes(self) -> int:
        """How much should be free."""
        return marks(self.room.total, self._growth.per_day).low if self.room else 0

    async def run(self) -> None:
        """Look until cancelled."""
        looks = 0
        while True:
            if looks % COUNT_EVERY == 0:
                self._counted(await asyncio.to_thread(measure, self._data))
            self._seen(await asyncio.to_thread(disk.room, self._data))
            looks += 1
            await self._clock.sleep(EVERY_S)

    def _counted(self, size: Size) -> None:
        self._metrics.archive_files.set(size.files)
        self._metrics.archive_bytes.set(size.size)

    def _seen(self, room: Room) -> None:
        self.room = room
        self._growth.observe(self._clock.monotonic(), room.free)
        per_day = self._growth.per_day
        self._metrics.disk_free.set(room.free)
        self._metrics.disk_size.set(room.total)
        self._metrics.runway.set(room.free / per_day * _DAY_S if per_day else math.inf)
