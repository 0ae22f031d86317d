"""The journal as read by another process: every whole line, whatever the writer does meanwhile."""

from __future__ import annotations

from pathlib import Path

from recorder.disk import undisturbed
from recorder.errors import CorruptLine
from recorder.journal import segment
from recorder.journal.segment import Entry


def entries(journal: Path) -> list[Entry]:
    """Return all whole lines of all segments, oldest first, made durable before they are returned.

    A live reader calls this first and lists the archive after it: a row may have moved, but is never missed. Unreadable
    lines are left to the drain, which quarantines and reports them.
    """

    def look() -> list[Entry]:
        return [
            entry
            for path in segment.segments(journal)
            for entry in segment.entries(path)
            if not isinstance(entry, CorruptLine)
        ]

    # If a segment was retired meanwhile, its rows are in the archive now, so start again.
    return undisturbed(look, f"the segments in {journal}")
