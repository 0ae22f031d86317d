"""The journal as a reader in another process sees it: every whole line, whatever the writer does meanwhile."""

from __future__ import annotations

from pathlib import Path

from recorder.errors import CorruptLine, StorageError
from recorder.journal import segment
from recorder.journal.segment import Entry

_ATTEMPTS = 50
"""A segment is retired every few minutes; meeting that many retirements in a row is no coincidence."""


def entries(journal: Path) -> list[Entry]:
    """Return all whole lines of all segments, oldest first, durable before they are returned.

    A live reader calls this first and lists the archive after it: a row may have moved, but is never missed.
    Lines that cannot be read are left to the drain, which sets them aside and reports them.
    """
    for _ in range(_ATTEMPTS):
        try:
            return [
                entry
                for path in segment.segments(journal)
                for entry in segment.entries(path)
                if not isinstance(entry, CorruptLine)
            ]
        except FileNotFoundError:  # retired under us: its rows are in the archive now, so begin anew
            continue
    raise StorageError(f"{journal}: segments keep vanishing; is something else deleting them?")
