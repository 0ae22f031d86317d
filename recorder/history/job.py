"""Importing members, each by the importer of its layout; and the note of each one in the events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.imported_files import Prefer
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.clock import SystemClock
from recorder.core.event_kinds import EventKind
from recorder.core.model import Event
from recorder.disk import Room
from recorder.history.contents import Entry
from recorder.history.finished import Finished, Note, checksum
from recorder.history.importers import importers
from recorder.history.results import MemberResult

NOTED_BYTES: Final = 64 << 20
"""Bytes of members whose events are written together: a quarter has 1,500 members, most of them small."""
READ_TIMES: Final = 2
"""How often a member is read: once for its checksums, once for its rows."""


class ImportJob:
    """Imports members into ``archive``; :meth:`note` must follow the last one, whatever ended it.

    ``room`` measures the archive's disk; ``prefer`` decides where members without ids differ. ``results`` are those of
    members that were imported, and ``earlier`` the notes of those that were before and still are; both in the order of
    the calls.
    """

    def __init__(self, archive: TradeArchive, *, room: Callable[[], Room], prefer: Prefer | None = None) -> None:
        self.results: dict[Entry, MemberResult] = {}
        self.earlier: dict[Entry, Note] = {}
        self._importers = importers(archive, room=room, now_us=SystemClock().wall_ns() // 1000, prefer=prefer)
        self._segments = Segments(archive.layout, archive.disk, staging=archive.staging)
        self._finished = Finished(archive.layout)
        self._events: list[Event] = []
        self._read_bytes = 0

    def member(self, entry: Entry, done: Callable[[int], None] = lambda _: None) -> None:
        """Import one member unless that was done before; ``done`` is called with the bytes read as they are.

        A member is read whole before anything of it is stored, since that of a ZIP must match its checksum, and then
        again: ``done`` is called with :data:`READ_TIMES` its size altogether. Raises UsageError
        if it cannot be read, UnsoundFile, UnreadableFile or UnknownVersion if stored files of its pair cannot be
        trusted, DiskError. What was stored until then stays, and the next call goes on.
        """
        importer = self._importers[entry.detected.layout]
        for note in self._finished.of(entry):
            if importer.holds(entry.pair, note.detail):
                self.earlier[entry] = note
                done(entry.member.size * READ_TIMES)
                return
        digest = entry.member.digest(done)
        result = importer.member(entry, digest, done)
        self.results[entry] = result
        detail: dict[str, Any] = {
            "file": entry.member.file.name,
            "member": entry.member.path or entry.member.file.name,
            "layout": entry.detected.layout.value,
            "bytes": entry.member.size,
            "crc32": checksum(digest.crc32),
            "sha256": digest.sha256,
            **result.detail(),
        }
        now_us = SystemClock().wall_ns() // 1000
        self._events.append(event(now_us, EventKind.IMPORTED, entry.pair, **detail))
        self._finished.add(entry.pair, Note(now_us, detail))
        self._read_bytes += entry.member.size
        if self._read_bytes >= NOTED_BYTES:
            self.note()

    def note(self) -> None:
        """Write the events of the members that were imported. Without its event a member is read again."""
        if self._events:
            self._segments.add(Branch(EVENTS), EVENTS.build(self._events), segment=None)
        self._events, self._read_bytes = [], 0

    def first_ids(self) -> dict[str, int]:
        """Return the lowest id of each pair in the members that were imported now or before."""
        found: dict[str, int] = {}
        details = [(one, result.detail()) for one, result in self.results.items()]
        details += [(one, dict(note.detail)) for one, note in self.earlier.items()]
        for one, detail in details:
            if isinstance(first_id := detail.get("first_id"), int):
                found[one.pair] = min(first_id, found.get(one.pair, first_id))
        return found

    def tidy(self, done: Callable[[str], None] = lambda _: None) -> None:
        """Merge the files that were written; ``done`` is called with each pair before."""
        written = dict.fromkeys((entry.pair, self._importers[entry.detected.layout]) for entry in self.results)
        for pair, importer in written:
            done(pair)
            importer.tidy(pair)
        self.note()
        now_s = SystemClock().wall_ns() / 1e9
        today = datetime.fromtimestamp(now_s, UTC).date()
        while self.results and compact_segments(self._segments, Branch(EVENTS), today=today, now_s=now_s) is not None:
            pass
