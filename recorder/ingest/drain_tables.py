"""Journalled rows of tables without ids → archive: candles, listings, events.

All rows of a segment are added at once, because some events are found by comparison with the archive.
"""

from __future__ import annotations

from typing import assert_never

import structlog

from recorder.archive.candles import CandleArchive
from recorder.archive.datasets import BY_NAME, Branch
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Quarantine
from recorder.archive.segment_tables import SegmentTables
from recorder.core.event_kinds import EventKind
from recorder.core.model import Event
from recorder.errors import Malformed, StorageError, UnreadableFile, Unstorable
from recorder.ingest.drained_segment import DrainedSegment
from recorder.ingest.odd_listing_entries import OddListingEntries
from recorder.ingest.unreadable_lines import UnreadableLines
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.ohlc_answers import CandleAnswer
from recorder.kraken.records import (
    Header,
    ListingRecord,
    Note,
    NotedFrame,
    PublishedCandles,
    TableRows,
    TradeRecord,
    UnknownRecord,
    UnreadableRecord,
)

log = structlog.get_logger()


class TableDrain:
    """Archives the rows of the tables without ids, segment by segment."""

    def __init__(self, tables: SegmentTables, quarantine: Quarantine, layout: Layout) -> None:
        self._tables = tables
        self._events = Branch(tables.events)
        self._instruments = InstrumentArchive(tables)
        self._candles = CandleArchive(tables)
        self._odd_entries = OddListingEntries(quarantine, layout)
        self._unread = UnreadableLines(quarantine)

    def write(self, closed: DrainedSegment) -> None:
        """Add the segment's rows, and the events that report what was wrong in it."""
        mark = closed.mark()
        try:
            self._write_others(closed, singly=False)
        except Unstorable:  # the rows of an unknown line: all are added again, one line at a time
            closed.roll_back(mark)
            self._write_others(closed, singly=True)

    def _write_others(self, closed: DrainedSegment, *, singly: bool) -> None:
        """Add the segment's rows of the tables without ids. Raises Unstorable if some do not fit, unless ``singly``.

        Lines are quarantined before the rows are written, because the segment is retired after that.
        """
        self._tables.begin(singly=singly)
        for entry in closed.others.entries():
            try:
                self._add(entry, closed)
            except Malformed as error:
                closed.quarantine_malformed(entry, error)
            except Unstorable as error:
                if not singly:
                    raise
                closed.quarantine_refused(entry, error)
            except (StorageError, UnreadableFile) as error:
                # A damaged file of listings must not keep the rest from being archived; the line remains in raw/.
                log.error("listing not archived", segment=closed.number, reason=str(error))
        closed.report_rest()
        self._tables.add(self._events, closed.events)
        closed.write_quarantine()
        self._tables.write(closed.name)

    def _add(self, entry: Entry, closed: DrainedSegment) -> None:
        match records.read(entry):
            case ListingRecord() as listing:
                changed = self._instruments.add(entry.recv_ns // 1000, listing.listed())
                odd = self._odd_entries.report(entry, listing, changed, self._instruments.keys())
                self._tables.add(self._events, [*changed.events, *odd])
            case Note() as note:
                self._add_event(note.event())
            case PublishedCandles() as answer:
                self._add_candles(entry, answer.answer(), closed)
            case TableRows() as carrying:
                for table, parts in carrying.tables().items():
                    dataset = self._tables.events if table == Note.table else BY_NAME[table]
                    for value, rows in parts.items():
                        self._tables.add(Branch(dataset, value), rows)
            case UnknownRecord():
                raise Malformed(f"a line of {entry.source}, which this release does not know")
            case UnreadableRecord():
                self._unread.keep(entry)  # a note gives the reason
            case TradeRecord() | Header() | NotedFrame():
                pass  # trades are drained separately
            case never:
                assert_never(never)

    def _add_event(self, noted: Event) -> None:
        self._tables.add(self._events, [noted])
        if noted.kind == EventKind.DELISTED and noted.pair is not None:
            self._instruments.delist(noted.time_us, noted.pair)

    def _add_candles(self, entry: Entry, answer: CandleAnswer, closed: DrainedSegment) -> None:
        if answer.odd:
            closed.quarantine_rows(entry, answer.odd)
        added = self._candles.take(answer.rows, entry.recv_ns // 1000)
        self._tables.add(self._events, added.events)
        if added.unreadable is not None:
            log.error("candles archived without comparison", segment=closed.number, reason=str(added.unreadable))
