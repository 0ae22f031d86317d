"""What the importers of members without ids share: where they write, what decides, and how they count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from recorder.archive.imported_files import Prefer
from recorder.archive.imported_history import Source
from recorder.archive.trades import TradeArchive
from recorder.core.disk_limits import require
from recorder.disk import Room
from recorder.history.members import Digest, Member
from recorder.history.numbered_rows import Numbered
from recorder.history.results import MemberResult
from recorder.lazy_imports import pc


@dataclass(frozen=True, slots=True)
class BulkImport:
    """An import into ``archive``.

    ``room`` measures its disk before a file is written. ``possible`` are the times that a row can have (µs since 1970
    UTC). ``prefer`` decides where members differ.
    """

    archive: TradeArchive
    room: Callable[[], Room]
    possible: tuple[int, int]
    prefer: Prefer | None = None

    def require_room(self, pair: str, year: int) -> None:
        """Raise DiskError if disk space is low."""
        room = self.room()
        require(room.free, room.total, stopped=f"{pair}: stopped before its year {year}")


@dataclass(slots=True)
class BulkResult(MemberResult):
    """What a member without ids had."""

    def saw(self, read: Numbered) -> None:
        """Count rows that were read."""
        if read.rows.num_rows:
            ends = pc.min_max(read.rows["time"].cast(pa.int64())).as_py()
            self.first_us = ends["min"] if self.first_us is None else min(self.first_us, ends["min"])
            self.last_us = ends["max"] if self.last_us is None else max(self.last_us, ends["max"])
        self.rows += read.rows.num_rows


def source_of(member: Member, digest: Digest) -> Source:
    """Return what footers call a member."""
    return Source(digest.sha256, PurePosixPath(member.path or member.file.name).name)
