"""Events for tests, archived as the drain does it."""

from __future__ import annotations

from pathlib import Path

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.segment_tables import SegmentTables
from recorder.core.event_kinds import EventKind
from recorder.core.model import Event
from tests.archive.candles import NEW_YEAR_US, rows
from tests.archive.rows import archive
from tests.powercut import Unsynced
from tests.segments import named


def events(first: int, last: int) -> list[Event]:
    """Return one event a second; New Year begins with number 0."""
    return [event(NEW_YEAR_US + n * 1_000_000, EventKind.CONNECTED, connection=n) for n in range(first, last + 1)]


def write_events(data: Path, segment: int, first: int, last: int, disk: Unsynced | None = None) -> int:
    """Archive events number ``first`` to ``last``, drained from ``segment``; return how many were new."""
    disk = disk or Unsynced()
    with archive(data, disk) as opened:
        tables = SegmentTables(opened.layout, disk, staging=opened.staging)
        tables.add(Branch(EVENTS), events(first, last))
        return tables.write(named(segment))


def details(data: Path) -> list[str]:
    """Return the details of all archived events."""
    return [row["detail"] for row in rows(data, "events")]
