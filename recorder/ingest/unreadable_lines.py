"""Lines that could not be read when received: quarantined, because the journal's raw copies expire."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import structlog

from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.journal import segment
from recorder.journal.segment import Entry

KEPT: Final = 500
"""Limit per run: an exchange that has changed its format keeps sending such lines, and the quarantine never expires."""
WHY: Final = "received data could not be read; an event says why"

log = structlog.get_logger()


class UnreadableLines:
    """Quarantines each distinct content once per run, in order of receipt, up to a limit."""

    def __init__(self, kept_in: Quarantine) -> None:
        self._quarantine = kept_in
        self._kept: set[bytes] = set()

    def keep(self, entry: Entry) -> None:
        """Quarantine a line, durably. Raises DiskError."""
        content = sha256(entry.payload).digest()
        if content in self._kept or len(self._kept) >= KEPT:
            return
        line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
        path = self._quarantine.add([QuarantinedRow(entry.recv_ns, Reason.MALFORMED, line, why=WHY)])
        self._kept.add(content)
        log.warning("unreadable data quarantined", source=entry.source, file=str(path))
        if len(self._kept) == KEPT:
            log.error("too many unreadable lines: the rest stays in the journal only", lines=KEPT)
