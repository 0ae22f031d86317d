"""Keep the archive in few files and raw segments within policy, on a budget that recording never notices."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from recorder.archive.append import TradeArchive
from recorder.archive.compact import compact
from recorder.clock import Clock
from recorder.disk import Disk
from recorder.errors import CorruptFile
from recorder.ops.metrics import Metrics

ROUND_S: Final = 60.0
"""How often upkeep looks; drains bring at most a file per pair every few minutes."""
BUSY_SHARE: Final = 0.1
"""Upkeep rests nine times as long as it works, so that it takes a tenth of one core at most."""

log = structlog.get_logger()


class Upkeep:
    """Compacts pair after pair, and removes raw segments older than ``keep_s`` seconds."""

    def __init__(
        self,
        archive: TradeArchive,
        disk: Disk,
        *,
        keep_s: float,
        clock: Clock,
        metrics: Metrics,
        round_s: float = ROUND_S,
    ) -> None:
        self._archive = archive
        self._disk = disk
        self._keep_s = keep_s
        self._clock = clock
        self._metrics = metrics
        self._round_s = round_s

    async def run(self) -> None:
        """Look after the archive until cancelled."""
        while True:
            await self._clock.sleep(self._round_s)
            await self._timed(self._expire_raw)
            for pair in await asyncio.to_thread(self._archive.layout.pairs):
                while await self._timed(functools.partial(self._compact, pair)):
                    pass

    async def _timed(self, work: Callable[[], bool]) -> bool:
        started_s = self._clock.monotonic()
        more = await asyncio.to_thread(work)
        await self._clock.sleep((self._clock.monotonic() - started_s) * (1 / BUSY_SHARE - 1))
        return more

    def _compact(self, pair: str) -> bool:
        now_s = self._clock.wall_ns() / 1e9
        try:
            done = compact(self._archive, pair, this_year=datetime.fromtimestamp(now_s, UTC).year, now_s=now_s)
        except CorruptFile as error:
            # The archive is untouched; recording goes on, and the files stay as they are for `verify`.
            log.error("compaction refused", pair=pair, reason=str(error))
            return False
        if done is None:
            return False
        self._metrics.compacted.inc(done.files)
        log.debug("compacted", pair=pair, files=done.files, rows=done.rows)
        return True

    def _expire_raw(self) -> bool:
        oldest_s = self._clock.wall_ns() / 1e9 - self._keep_s
        for path in self._archive.layout.raw.glob("*.jsonl.zst"):
            if path.stat().st_mtime < oldest_s:
                self._disk.unlink(path)
        return False
