"""What happened: rows of the events table, made of notes in the journal and of what the drain finds out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from recorder.archive.files import Layout
from recorder.archive.schema import events_table
from recorder.archive.segments import Segments, Waiting
from recorder.archive.tables import EVENTS, Branch
from recorder.core.events import EventKind
from recorder.core.model import Event
from recorder.disk import Disk

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def event(time_us: int, kind: EventKind, pair: str | None = None, **detail: object) -> Event:
    """Return an event; ``detail`` must be what JSON can say."""
    return Event(time_us, kind, pair, msgspec.json.encode(detail).decode())


def iso(time_us: int) -> str:
    """Return a moment, in µs since 1970 UTC, as details spell it.

    >>> iso(1_762_776_000_000_000)
    '2025-11-10T12:00:00Z'
    """
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


class EventArchive:
    """The events table, for writing: :meth:`take` each event of a segment, then :meth:`write` them."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self._segments = Segments(layout, disk, staging=staging)
        self.begin()

    def begin(self) -> None:
        """Begin a segment: what was taken and never written is dropped."""
        self._waiting = Waiting(events_table)

    def take(self, *events: Event) -> None:
        """Take in events of the segment."""
        self._waiting.add(events)

    def write(self, segment: int) -> int:
        """Add what was taken, durably; return how many. Nothing, where it was done before."""
        added = self._segments.append(Branch(EVENTS), self._waiting.table(), segment=segment)
        self.begin()
        return added
