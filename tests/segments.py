"""Names of journal segments for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from recorder.core.segment_names import MAIN_JOURNAL, SegmentName

ARCHIVE: Final = "3f2b8c1e-5d7a-4e90-9b61-0c4f7d2a8e15"


def named(number: int, *, journal: str = MAIN_JOURNAL, archive: str = ARCHIVE) -> SegmentName:
    """Return the name of a segment; left to itself, of the main journal of an archive with the id ARCHIVE."""
    return SegmentName(archive, journal, number)


def numbers_in(path: Path) -> list[int]:
    """Return the numbers of the segments that the footer of a file names, of whatever journal."""
    content = json.loads(pq.read_metadata(path).metadata[b"recorder"])
    return [number for of_journal in content.get("segments", []) for number in of_journal["numbers"]]
