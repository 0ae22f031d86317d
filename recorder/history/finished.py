"""Which members of history files were imported to their end, according to the events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, OpenFile
from recorder.core.event_kinds import EventKind
from recorder.disk import undisturbed
from recorder.history.contents import Entry
from recorder.lazy_imports import pc

_BATCH: Final = 32_768
_TEXTS: Final = ("pair", "detail")
_Key: TypeAlias = tuple[str | None, object, object]


@dataclass(frozen=True, slots=True)
class Note:
    """The event of one member: when it was imported (µs since 1970 UTC), and the detail."""

    time_us: int
    detail: Mapping[str, Any]


class Finished:
    """The notes of an archive. One that cannot be read is left out: its member is imported again."""

    def __init__(self, layout: Layout) -> None:
        self._notes: dict[_Key, list[Note]] = {}
        for pair, note in undisturbed(lambda: list(_notes(layout)), "the files of events"):
            self.add(pair, note)

    def add(self, pair: str | None, note: Note) -> None:
        """Add the note of a member."""
        self._notes.setdefault((pair, note.detail.get("layout"), note.detail.get("bytes")), []).append(note)

    def of(self, entry: Entry) -> list[Note]:
        """Return the notes of members of the same pair, layout and content: of equal size and checksum.

        Raises UsageError if a CSV, which must be read for it, cannot be.
        """
        alike = self._notes.get((entry.pair, entry.detected.layout.value, entry.member.size))
        if not alike:
            return []
        crc32 = checksum(entry.member.crc32())
        return [note for note in alike if note.detail.get("crc32") == crc32]


def checksum(crc32: int) -> str:
    """Return a CRC-32 as it is noted.

    >>> checksum(255)
    '000000ff'
    """
    return f"{crc32:08x}"


def _notes(layout: Layout) -> Iterator[tuple[str | None, Note]]:
    if not layout.exists:
        return
    with contextlib.suppress(*SET_APART):  # an unreadable folder
        for path in layout.files(Branch(EVENTS)):
            with contextlib.suppress(*SET_APART), OpenFile(path) as file:
                for part in file.read(_BATCH, columns=["time", "kind", *_TEXTS]):
                    rows = part.filter(pc.equal(part["kind"], EventKind.IMPORTED))
                    times_us = rows["time"].cast(pa.int64()).to_pylist()
                    for time_us, pair, text in zip(times_us, *(rows[name].to_pylist() for name in _TEXTS), strict=True):
                        with contextlib.suppress(ValueError):
                            yield pair, Note(time_us, msgspec.json.decode(text, type=dict[str, Any]))
