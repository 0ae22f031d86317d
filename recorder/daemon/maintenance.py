"""Schedule of compaction and of the deletion of raw segments, on a budget that recording never notices."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import structlog

from recorder.archive.compaction import Compacted, compact, compact_segments
from recorder.archive.datasets import TRADES, Branch, Dataset, journals, written_by
from recorder.archive.load_ledger import DAMAGE
from recorder.archive.parquet import SET_APART
from recorder.archive.segment_tables import Segments
from recorder.archive.table_retention import expire, limit_us
from recorder.archive.trades import TradeArchive
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.daemon.raw_retention import expire_raw
from recorder.disk import Disk
from recorder.errors import DiskError, is_own
from recorder.ingest.quarantined_pairs import is_disks_fault, patiently
from recorder.journal import segment
from recorder.ops import process_setup
from recorder.runtime.context import Context

ROUND_S: Final = 60.0
"""Interval of rounds; drains add at most one file per pair every few minutes."""
EXPIRE_S: Final = 3600.0
"""Interval of looks for old rows, which open every file; rows are kept for days."""
BUSY_SHARE: Final = 0.1
"""Maintenance rests nine times as long as it works, so that it takes a tenth of one core at most."""

REMEMBERED: Final = 300
"""Number of retired segments still named in footers: more than are retired while a back-up is made, between the copies
of the journal and the tables. A back-up that contains both a segment and its rows can then recognize them, and does not
add them again. With a drain every five minutes it covers a day, and 300 numbers in a footer are 2 kB."""

log = structlog.get_logger()


class Maintenance:
    """Compacts table after table of one process, and removes what need not be kept.

    The tables are those whose rows come from the journal ``of``; with the main one also the raw segments of all
    journals, which are removed when older than ``keep_s`` seconds. ``keep_rows_s`` is for how long rows are kept, by
    table without ids; those of other tables, or with None, are kept forever. Both may change.

    ``now_s`` returns the earliest possible time now (seconds since 1970), None if it is unconfirmed: a host's clock
    that jumps a year ahead must not make everything old. Nor do files written under a slow clock look old: the drain
    sets their time (ingest/drain.py, ``latest_s``).
    """

    def __init__(
        self,
        archive: TradeArchive,
        disk: Disk,
        context: Context,
        *,
        keep_s: float,
        now_s: Callable[[], float | None],
        round_s: float = ROUND_S,
        quarantined: Container[str] = (),
        of: str = MAIN_JOURNAL,
        keep_rows_s: Mapping[Dataset, float | None] = MappingProxyType({}),
    ) -> None:
        self._journal = of
        self._datasets = written_by(of)
        self._quarantined = quarantined
        self._clock = context.clock
        self._metrics = context.metrics
        self._archive = archive
        self._disk = disk
        self.keep_s = keep_s
        self.keep_rows_s = keep_rows_s
        self._rows_due_s = self._clock.monotonic()
        self._now_s = now_s
        self._round_s = round_s
        self.raw = threading.Lock()
        """Held while raw segments are removed: a reader that has listed them must find them."""
        self._segments = Segments(archive.layout, disk, staging=archive.staging)

    async def run(self) -> None:
        """Maintain the archive until cancelled."""
        while True:
            await self._clock.sleep(self._round_s)
            await self.round()

    async def round(self) -> None:
        """Do all that is due now."""
        await self._patiently(self._expire_raw)
        merged = False
        expiring = self._clock.monotonic() >= self._rows_due_s
        if expiring:
            self._rows_due_s = self._clock.monotonic() + EXPIRE_S
        for dataset in self._datasets:
            expires = expiring and self.keep_rows_s.get(dataset) is not None
            for branch in await patiently(self._clock, functools.partial(asyncio.to_thread, self._branches, dataset)):
                if expires:
                    await self._patiently(functools.partial(self._expire_rows, branch))
                while await self._patiently(functools.partial(self._compact, branch)):
                    merged = True
        if merged:
            await asyncio.to_thread(process_setup.release_memory)

    def _branches(self, dataset: Dataset) -> list[Branch]:
        try:
            return self._archive.layout.branches(dataset)
        except SET_APART as error:
            self._refused(dataset.name, error)
            return []

    @staticmethod
    def _refused(of: str, error: Exception) -> None:
        """Log that something is left unchanged. Raises the error if the disk, and not a file, is at fault."""
        if is_disks_fault(error) or (isinstance(error, DiskError) and not is_own(error)):
            raise error
        log.error("compaction refused", of=of, reason=str(error))

    async def _patiently(self, work: Callable[[], bool]) -> bool:
        return await patiently(self._clock, functools.partial(self._timed, work))

    async def _timed(self, work: Callable[[], bool]) -> bool:
        started_s = self._clock.monotonic()
        more = await asyncio.to_thread(work)
        await self._clock.sleep((self._clock.monotonic() - started_s) * (1 / BUSY_SHARE - 1))
        return more

    def _compact(self, branch: Branch) -> bool:
        started_s = self._clock.monotonic()
        if branch.dataset == TRADES and branch.value in self._quarantined:
            return False
        try:
            done = self._merged(branch)
        except (*DAMAGE, DiskError) as error:
            # The archive is untouched; recording continues, and the files remain for `verify`.
            self._refused(branch.name, error)
            return False
        if done is None:
            return False
        self._metrics.compacted.inc(done.files)
        self._metrics.compaction_seconds.observe(self._clock.monotonic() - started_s)
        log.debug("compacted", of=branch.name, files=done.files, rows=done.rows)
        return True

    def _merged(self, branch: Branch) -> Compacted | None:
        now_s = self._clock.wall_ns() / 1e9
        today = datetime.fromtimestamp(now_s, UTC).date()
        if branch.dataset.has_ids:
            return compact(self._archive, str(branch.value), today=today, now_s=now_s)
        drained_to = {self._journal: self._drained_to(self._journal)}
        return compact_segments(self._segments, branch, today=today, now_s=now_s, drained_to=drained_to)

    def _drained_to(self, journal: str) -> int:
        """Return the highest number such that no segment up to it can ever be drained again, in any copy."""
        folder = self._archive.layout.journal_dir(journal)
        left = segment.segments(folder)
        if not left:
            return 0
        self._disk.sync_dir(folder)  # otherwise a power cut could bring back a segment that was just retired
        return max(0, segment.number_of(left[0]) - 1 - REMEMBERED)

    def _expire_raw(self) -> bool:
        now_s = self._now_s()
        if now_s is not None:
            for journal in journals() if self._journal == MAIN_JOURNAL else ():
                expire_raw(self._archive.layout.raw_dir(journal), self._disk, now_s - self.keep_s, self.raw)
        return False

    def _expire_rows(self, branch: Branch) -> bool:
        now_s, keep_s = self._now_s(), self.keep_rows_s.get(branch.dataset)
        if now_s is None or keep_s is None:
            return False
        try:
            removed = expire(self._segments, branch, before_us=limit_us(now_s, keep_s))
        except (*DAMAGE, DiskError) as error:
            self._refused(branch.name, error)
            return False
        if removed:
            log.info("old rows removed", of=branch.name, rows=removed)
        return False
