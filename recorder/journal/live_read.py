"""The journal as read by another process: every whole line, whatever the writer does meanwhile."""

from __future__ import annotations

import contextlib
from itertools import islice
from pathlib import Path
from typing import Final

from recorder.disk import undisturbed
from recorder.errors import CorruptLine
from recorder.journal import segment
from recorder.journal.segment import Entry

_CHUNK: Final = 1 << 20
"""Bytes returned at once by a reader that reads on; some 6,000 trades."""


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


def has_lines(journal: Path) -> bool:
    """Return whether the journal has any line, besides the header of each segment."""

    def look() -> bool:
        return any(len(list(islice(segment.entries(path), 2))) > 1 for path in segment.segments(journal))

    return undisturbed(look, f"the segments in {journal}")


class JournalReader:
    """Reads on in a journal that another process writes: each whole, durable line once, in bounded memory.

    Segments that are drained and retired before they were read are not returned: their rows are in the archive then.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._offsets: dict[Path, int] = {}
        self.changes = 0
        """How often segments were found to have come or gone; then rows may have moved to the archive."""

    def read(self) -> list[Entry]:
        """Return the next lines, a chunk at most; none if no more are there now. Unreadable lines are left out.

        Raises DiskError.
        """
        paths = segment.segments(self._journal)
        if paths != list(self._offsets):
            self.changes += 1
            self._offsets = {path: self._offsets.get(path, 0) for path in paths}
        for path in paths:
            while lines := self._lines(path):
                found = [entry for entry in map(_decoded, lines) if entry is not None]
                if found:
                    return found
        return []

    def rewind(self) -> None:
        """Begin again with the first line of the oldest segment."""
        self._offsets = dict.fromkeys(self._offsets, 0)

    def _lines(self, path: Path) -> list[bytes]:
        offset = self._offsets[path]
        with contextlib.suppress(FileNotFoundError):  # retired meanwhile, as the next listing will show
            if path.stat().st_size > offset:
                lines, self._offsets[path] = segment.whole_lines(path, offset, limit=_CHUNK)
                return lines
        return []


def _decoded(line: bytes) -> Entry | None:
    try:
        return segment.decode(line)
    except CorruptLine:
        return None
