"""Listing entries that do not count: each is quarantined and reported in an event, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import structlog

from recorder.archive import quarantine
from recorder.archive.event_rows import event
from recorder.archive.instrument_changes import Changes
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.core.event_kinds import EventKind
from recorder.core.model import Event
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.records import ListingRecord
from recorder.kraken.rest_api import Request
from recorder.runtime.notes import KEPT_BYTES

SINGLY: Final = 100
"""Entries of one listing that are quarantined and reported one by one; of the rest only the number is reported."""
_PATH: Final = "/0/public/AssetPairs"
_SOURCE: Final = f'"source":"{records.unreadable_source(Request(_PATH))}'.encode()

log = structlog.get_logger()


class OddListingEntries:
    """Quarantines such entries; the quarantine is its memory, so entries of earlier listings are not reported again."""

    def __init__(self, kept_in: Quarantine, layout: Layout) -> None:
        self._quarantine = kept_in
        self._layout = layout
        self._reported: dict[str, int] | None = None

    def report(self, entry: Entry, answer: ListingRecord, changed: Changes, pairs: Mapping[str, str]) -> list[Event]:
        """Quarantine the entries of a listing that do not count, durably; return the events to report.

        ``answer`` is the parsed ``entry``, ``pairs`` are the known pairs by Kraken key. Another call with the same line
        returns the same. Raises DiskError.
        """
        reported = self._load() if self._reported is None else self._reported
        kept = _kept(entry, answer, changed, pairs)
        found = [one for one in kept if reported.get(one.why, entry.recv_ns) >= entry.recv_ns]
        singly = found[:SINGLY]
        if not singly:
            return []
        path = self._quarantine.add(singly)
        reported.update((one.why, entry.recv_ns) for one in singly)
        log.error("entries of the listing quarantined", entries=len(found), file=str(path), first=singly[0].why)
        reasons = [(one.pair, one.why) for one in singly]
        if len(found) > SINGLY:
            reasons.append((None, f"{len(found) - SINGLY} more entries of the listing do not count"))
        time_us = entry.recv_ns // 1000
        return [
            event(time_us, EventKind.MALFORMED, pair, source=entry.source, reason=reason) for pair, reason in reasons
        ]

    def _load(self) -> dict[str, int]:
        self._reported = {}
        for one in quarantine.listed(self._layout):  # in order of receipt
            if one.reason == Reason.MALFORMED and _SOURCE in one.line[: len(_SOURCE) + 64]:
                self._reported.setdefault(one.why, one.recv_ns)
        return self._reported


def _kept(entry: Entry, answer: ListingRecord, changed: Changes, pairs: Mapping[str, str]) -> Iterator[QuarantinedRow]:
    for key, odd in answer.listed().odd.items():
        pair = pairs.get(key) if odd.bare is None else odd.bare.pair
        yield _line(entry, key, odd.raw, pair, odd.reason)
    raw = answer.entries() if changed.rivals else {}
    for rival in changed.rivals:
        yield _line(entry, rival.left, bytes(raw[rival.left]), rival.pair, str(rival))


def _line(entry: Entry, key: str, raw: bytes, pair: str | None, why: str) -> QuarantinedRow:
    source = records.unreadable_source(Request(_PATH, (("pair", key),)))
    line = segment.encode(entry.recv_ns, source, raw[:KEPT_BYTES]).rstrip(b"\n")
    return QuarantinedRow(entry.recv_ns, Reason.MALFORMED, line, pair, why=why)
