"""Deletion of raw journal segments after their rows are archived and their retention has passed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import structlog

from recorder.archive.parquet import SET_APART
from recorder.disk import Disk, names_in
from recorder.ingest.quarantined_pairs import is_disks_fault
from recorder.journal.journal import RAW_SUFFIX

log = structlog.get_logger()


def expire_raw(raw: Path, disk: Disk, before_s: float, lock: AbstractContextManager[object]) -> None:
    """Remove the segments in ``raw`` written before ``before_s`` (seconds since 1970), under ``lock``.

    A folder that cannot be read is logged. Raises the error if the disk itself is at fault.
    """
    try:
        with lock:
            for path in (raw / name for name in names_in(raw) if name.endswith(RAW_SUFFIX)):
                if path.stat().st_mtime < before_s:
                    disk.unlink(path)
    except SET_APART as error:
        if is_disks_fault(error):
            raise
        log.error("raw segments not removed", reason=str(error))
