"""Metrics of the archive's size and of the time until its disk is full."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Final

import structlog

from recorder.daemon.disk_space import DiskSpaceWatch
from recorder.ops.disk_usage import measure
from recorder.runtime.context import Context

log = structlog.get_logger()

_SHOWN: Final = 10
"""Number of folders named in a log line."""
EVERY_S: Final = 600.0
"""Interval of counting files: 20,000 files take a tenth of a second of a thread."""


class DiskUsage:
    """Counts the files in the folder ``data``, and reports the results of ``space``."""

    def __init__(self, data: Path, space: DiskSpaceWatch, context: Context) -> None:
        self._data = data
        self._clock = context.clock
        self._metrics = metrics = context.metrics
        metrics.disk_free.set_function(lambda: space.room.free if space.room else math.nan)
        metrics.disk_size.set_function(lambda: space.room.total if space.room else math.nan)
        metrics.runway.set_function(lambda: space.runway_s)

    async def run(self) -> None:
        """Count until cancelled."""
        reported: tuple[str, ...] = ()
        while True:
            size = await asyncio.to_thread(measure, self._data)
            self._metrics.archive_files.set(size.files)
            self._metrics.archive_bytes.set(size.size)
            if size.unlisted != reported:
                reported = size.unlisted
                if reported:
                    log.warning(
                        "folders cannot be listed, and are not counted",
                        folders=reported[:_SHOWN],
                        more=len(reported[_SHOWN:]),
                    )
            await self._clock.sleep(EVERY_S)
