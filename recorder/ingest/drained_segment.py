"""A segment that is being drained: its lines that need more than appending, and the events that report them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from recorder.archive.event_rows import event
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.core.event_kinds import EventKind
from recorder.core.model import Event, Trade
from recorder.core.report_once import ReportOnce
from recorder.core.segment_names import SegmentName
from recorder.core.trade_ids import Span, Spans
from recorder.errors import CorruptLine, Malformed, Unstorable
from recorder.ingest.line_positions import LinePositions
from recorder.ingest.odd_times import OddTimes
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import odd_trades, records
from recorder.kraken.odd_rows import OddRow

REPORTED_SINGLY: Final = 100
"""Unreadable rows of a pair that are reported one by one per segment; of the rest only the number is reported."""
QUARANTINE_BYTES: Final = 4 * 1024 * 1024
"""Quarantined lines are written whenever they reach this size, which limits memory whatever a journal contains."""
SHOWN_CHARS: Final = 300
"""Characters of a source, and of a reason, that an event repeats; the quarantine stores the whole line."""

log = structlog.get_logger()

Checkpoint: TypeAlias = tuple[int, Counter[str | None]]


class DrainedSegment:
    """A segment being drained: its lines without trades, with parked ids, or corrupt, and the events to report."""

    def __init__(self, path: Path, name: SegmentName, report_once: ReportOnce, quarantine: Quarantine) -> None:
        self.path, self.name, self.number = path, name, segment.number_of(path)
        self.others = LinePositions(path)
        self.parked = LinePositions(path)
        self.corrupt: list[CorruptLine] = []
        self.events: list[Event] = []
        self._to_quarantine: list[QuarantinedRow] = []
        self.lost = False
        """Whether a line of trades could not be read, although its ids may have been counted when it was received."""
        self._report_once = report_once
        self._quarantine = quarantine
        self._quarantine_bytes = 0
        self._odd_rows: Counter[str | None] = Counter()
        self._reported_us = 0
        self.odd = OddTimes()

    def report_malformed(
        self, received_ns: int, source: str, reason: str, pair: str | None = None, **detail: object
    ) -> None:
        """Report input that is malformed as an event of ``pair``."""
        fields = {"source": source[:SHOWN_CHARS], "reason": reason[:SHOWN_CHARS], **detail}
        self.events.append(event(received_ns // 1000, EventKind.MALFORMED, pair, **fields))
        self._reported_us = received_ns // 1000

    def trades(self, entry: Entry) -> list[Trade]:
        """Return the trades in a line, and record rows that are unusual or cannot be read."""
        usual = records.usual_trades(entry)
        if usual is not None:  # as for nearly all of millions of rows
            self.odd.rows += len(usual)
            return usual
        try:
            rows, unread = records.rows(entry)
        except Malformed as error:
            self.lost = True
            self.quarantine_malformed(entry, error)
            return []
        if unread:
            self.quarantine_rows(entry, unread)
        self.odd.check(rows, entry.recv_ns, entry.source)
        for pair, reason in odd_trades.stored(rows, self._report_once):
            log.warning("unusual trade", pair=pair, reason=reason)
            self.report_malformed(entry.recv_ns, entry.source, reason, pair)
        return rows

    def quarantine_rows(self, entry: Entry, rows: Iterable[OddRow]) -> None:
        """Quarantine the unreadable rows of a line whose other rows can be read, and report each once per run."""
        by_pair: dict[str | None, list[OddRow]] = {}
        for row in rows:
            if self._report_once.is_first("unread", row.pair, row.raw):
                by_pair.setdefault(row.pair, []).append(row)
        for pair, of_pair in by_pair.items():
            spans = tuple(Spans(row.span for row in of_pair if row.span is not None))
            self.quarantine(entry, Reason.ODD, of_pair[0].reason, pair, spans)
            for row in of_pair:
                self._odd_rows[pair] += 1
                if self._odd_rows[pair] <= REPORTED_SINGLY:
                    log.error("row not understood", segment=self.number, pair=pair, reason=row.reason)
                    self.report_malformed(entry.recv_ns, entry.source, row.reason, pair, **_ids(row.span))

    def quarantine(
        self, entry: Entry, reason: Reason, why: str, pair: str | None = None, spans: tuple[Span, ...] = ()
    ) -> None:
        """Add a line to those to be quarantined."""
        line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
        self._to_quarantine.append(QuarantinedRow(entry.recv_ns, reason, line, pair, spans, why[:SHOWN_CHARS]))
        self._quarantine_bytes += len(line)
        if self._quarantine_bytes >= QUARANTINE_BYTES:
            self.write_quarantine()

    def write_quarantine(self) -> None:
        """Write the collected lines to the quarantine, durably."""
        if self._to_quarantine:
            path = self._quarantine.add(self._to_quarantine)
            log.warning("lines quarantined", segment=self.number, lines=len(self._to_quarantine), file=str(path))
        self._to_quarantine, self._quarantine_bytes = [], 0

    def quarantine_refused(self, entry: Entry, error: Unstorable, pair: str | None = None) -> None:
        """Quarantine a line that can be read but that the archive rejects."""
        self.lost = True
        log.error("journal line refused by the archive", segment=self.number, source=entry.source, reason=str(error))
        self.quarantine(entry, Reason.REFUSED, str(error), pair)
        self.report_malformed(entry.recv_ns, entry.source, str(error), pair)

    def mark(self) -> Checkpoint:
        """Return the current state of what is to be reported, for :meth:`back_to`."""
        return len(self.events), self._odd_rows.copy()

    def roll_back(self, mark: Checkpoint) -> None:
        """Drop the reports added since ``mark``, so that they can be made again."""
        count, self._odd_rows = mark
        del self.events[count:]
        self._report_once = ReportOnce()  # rows quarantined since may be quarantined once more

    def report_rest(self) -> None:
        """Report the number of unreadable rows beyond those reported one by one."""
        for pair, count in self._odd_rows.items():
            if count > REPORTED_SINGLY:
                reason = f"{count - REPORTED_SINGLY} more rows could not be read: they are stored as well"
                detail = {"source": "journal", "reason": reason}
                self.events.append(event(self._reported_us, EventKind.MALFORMED, pair, **detail))

    def report_odd_times(self) -> None:
        """Report trades with impossible times."""
        for report in self.odd.reports():
            detail = {"source": report.source, "reason": report.reason}
            self.events.append(event(report.received_ns // 1000, EventKind.MALFORMED, report.pair, **detail))

    def quarantine_malformed(self, entry: Entry, error: Malformed) -> None:
        """Quarantine and report a line that cannot be read: it could when it was received, by another release."""
        log.error("journal line not understood", segment=self.number, source=entry.source, reason=str(error))
        self.quarantine(entry, Reason.MALFORMED, str(error))
        self.report_malformed(entry.recv_ns, entry.source, str(error))


def _ids(span: Span | None) -> dict[str, int]:
    if span is None:
        return {}
    return {"trade_id": span.first} if len(span) == 1 else {"first_id": span.first, "last_id": span.last}
