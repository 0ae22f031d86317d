"""Journalled trades → archive: one file per pair, and the quarantine for rows that conflict, wait or do not fit."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import structlog

from recorder.archive import renumbering
from recorder.archive.event_rows import event
from recorder.archive.file_faults import FAULTS, Fault, diagnose
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Renumbered
from recorder.core.model import Trade, is_pair
from recorder.core.plausibility import renumbered_from
from recorder.core.trade_ids import Spans
from recorder.disk import undisturbed
from recorder.errors import CorruptFile, Malformed, UnreadableFile, Unstorable
from recorder.ingest.conflicting_trades import ConflictingTrades
from recorder.ingest.drained_segment import QUARANTINE_BYTES, DrainedSegment
from recorder.ingest.quarantined_pairs import QuarantinedPairs
from recorder.ingest.trade_index import BATCH_TRADES, LinesByPair
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.records import ParkedTrades

log = structlog.get_logger()


class TradeDrain:
    """The trades of one drain: what fits is appended, all else is quarantined and reported.

    ``index`` are the lines of all segments of the drain. The pairs of all appended rows are added to ``touched``.
    """

    def __init__(
        self,
        index: LinesByPair,
        trades: TradeArchive,
        quarantine: Quarantine,
        quarantined: QuarantinedPairs,
        *,
        touched: set[str],
    ) -> None:
        self._index = index
        self._trades = trades
        self._quarantine = quarantine
        self._quarantined = quarantined
        self._touched = touched
        self._conflicting = ConflictingTrades()
        self._refused = set[str]()
        """Pairs with rows that the archive rejects; their other rows are appended once all batches are."""
        self._faults = dict[str, Fault]()

    def append(self, batch: Mapping[str, Sequence[Trade]]) -> int:
        """Archive a batch as far as it fits; return the number of new trades."""
        self._touched.update(batch)
        added = 0
        for pair, rows in batch.items():
            if pair in self._quarantined:
                self._conflicting.wait(pair)
                continue
            with self._wait_if_damaged(pair):
                added += self._append_pair(pair, rows)
        return added

    def append_refused(self) -> int:
        """Archive what fits of the pairs with rows that do not; return the number of new trades.

        Quarantines the pairs whose files are damaged. Raises DiskAtFault if these are too many for separate faults.
        """
        added = 0
        for pair in sorted(self._refused):
            with self._wait_if_damaged(pair):
                added += self._append_rest(pair)
        if self._faults:
            self._quarantined.found(self._faults, of=len(self._trades.layout.pairs()))
        return added

    def set_aside(self, closed: DrainedSegment) -> None:
        """Quarantine the segment's lines of trades that cannot be archived, yet or ever, and report them."""
        if self._conflicting:
            self._set_conflicting_aside(closed)
        kept = [one for entry in closed.parked.entries() for one in self._parked(entry, closed)]
        if kept:
            path = self._quarantine.add(kept)
            log.warning("parked ids quarantined", segment=closed.number, lines=len(kept), file=str(path))

    @contextlib.contextmanager
    def _wait_if_damaged(self, pair: str) -> Iterator[None]:
        """Let the lines of ``pair`` wait if its own files cause the error that is raised."""
        try:
            yield
        except FAULTS as error:
            self._faults[pair] = diagnose(self._trades.layout, pair, error)
            self._conflicting.wait(pair)

    def _append_pair(self, pair: str, rows: Sequence[Trade]) -> int:
        """Append rows, up to the one from which the exchange renumbers the pair."""
        if not self._conflicting.is_aside(pair) and evidence.renumbered(self._trades.claimed.claims(pair)) is not None:
            self._conflicting.set_aside(pair)
        if self._conflicting.is_aside(pair):
            self._conflicting.set_aside(pair, rows)
            return 0
        try:
            repeated = self._trades.repeated(pair, rows)
        except (CorruptFile, UnreadableFile) as error:  # stored rows cannot be compared; verify reports the file
            log.error("repeated trades not compared", pair=pair, reason=str(error))
            repeated = []
        except Unstorable:
            self._refused.add(pair)
            return 0
        self._conflicting.add(repeated)
        first = renumbered_from(repeated)
        if first is not None:
            begins = next(index for index, row in enumerate(rows) if row is first)
            self._conflicting.set_aside(pair, rows[begins:])
            rows = rows[:begins]
        try:
            return self._trades.append(pair, rows).count()
        except Unstorable:
            self._refused.add(pair)
            return 0

    def _append_rest(self, pair: str) -> int:
        """Archive the rows of a pair that fit, validating every number again; quarantine rows and lines that do not."""
        added, waiting, held = 0, list[tuple[DrainedSegment, Entry, list[Trade]]](), 0
        for closed, lines in (part for parts in self._index.values() for part in parts):
            for entry in lines.entries():
                try:
                    rows, unread = records.rows_checked_again(entry)
                except Malformed as error:
                    closed.lost = True
                    closed.quarantine_malformed(entry, error)
                    continue
                closed.quarantine_rows(entry, unread)
                of_pair = [row for row in rows if row.pair == pair]
                if of_pair:
                    waiting.append((closed, entry, of_pair))
                    held += len(of_pair)
                if held >= BATCH_TRADES:
                    added += self._append_halves(pair, waiting)
                    waiting, held = [], 0
        return added + self._append_halves(pair, waiting)

    def _append_halves(self, pair: str, lines: Sequence[tuple[DrainedSegment, Entry, list[Trade]]]) -> int:
        """Archive these lines together or, if something does not fit, in halves down to single lines."""
        try:
            return self._trades.append(pair, [row for _, _, rows in lines for row in rows]).count()
        except Unstorable as error:
            if len(lines) == 1:
                closed, entry, _ = lines[0]
                closed.quarantine_refused(entry, error, pair if is_pair(pair) else None)
                return 0
        half = len(lines) // 2
        return self._append_halves(pair, lines[:half]) + self._append_halves(pair, lines[half:])

    def _set_conflicting_aside(self, closed: DrainedSegment) -> None:
        """Quarantine the segment's lines that were set aside or conflict with stored rows, and report them."""
        lines = [lines for parts in self._index.values() for of, lines in parts if of is closed]
        kept = list(
            self._set_waiting_aside(closed, (one for part in lines for one in self._conflicting.kept(part.entries())))
        )
        if not kept:
            return
        path = self._quarantine.add(kept)
        for pair, reason in dict.fromkeys((one.pair, one.reason) for one in kept):
            of_pair = [one for one in kept if (one.pair, one.reason) == (pair, reason)]
            if pair is not None and reason == Reason.RENUMBERED:
                self._report_renumbered(closed, pair, of_pair, path)
                continue
            detail = self._conflicting.detail(of_pair)
            log.error("ids received with other content", pair=pair, file=str(path), **detail)
            closed.events.append(event(of_pair[0].recv_ns // 1000, EventKind.DIFFERS, pair, **detail))

    def _set_waiting_aside(self, closed: DrainedSegment, kept: Iterable[QuarantinedRow]) -> Iterator[QuarantinedRow]:
        """Quarantine the lines of quarantined pairs, in bounded memory, and yield the others."""
        waiting, size = list[QuarantinedRow](), 0
        for one in kept:
            if one.reason != Reason.WAITING:
                yield one
                continue
            waiting.append(one)
            size += len(one.line)
            if size >= QUARANTINE_BYTES:
                self._quarantine.add(waiting)
                waiting, size = [], 0
        if waiting:
            path, pairs = self._quarantine.add(waiting), sorted({str(one.pair) for one in waiting})
            log.warning(
                "lines of quarantined pairs moved to quarantine", segment=closed.number, pairs=pairs, file=str(path)
            )

    def _report_renumbered(self, closed: DrainedSegment, pair: str, kept: Sequence[QuarantinedRow], path: Path) -> None:
        claims = self._trades.claimed.claims(pair)
        lines = len(kept)
        if evidence.renumbered(claims) is not None:
            log.warning("rows of a renumbered pair quarantined", pair=pair, lines=lines, file=str(path))
            return
        from_us = kept[0].recv_ns // 1000
        known = Renumbered(pair, kept[0].spans[0], evidence.after_us(claims, from_us), from_us)
        detail = evidence.detail(known)
        log.error(
            "pair renumbered",
            pair=pair,
            lines=lines,
            file=str(path),
            remedy=renumbering.remedy(self._trades.layout, pair),
            **detail,
        )
        closed.events.append(event(from_us, evidence.kind(known), pair, **detail))

    def _parked(self, entry: Entry, closed: DrainedSegment) -> Iterator[QuarantinedRow]:
        """Yield, by pair, a line with parked ids that are not all archived; released ids were journalled again."""
        try:
            rows = cast("ParkedTrades", records.read(entry)).parked()
        except Malformed as error:
            closed.quarantine_malformed(entry, error)
            return
        line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
        for pair in filter(is_pair, dict.fromkeys(row.pair for row in rows)):
            spans = Spans.of_ids(row.trade_id for row in rows if row.pair == pair)
            held = self._held(pair)
            if not all(held.covers(span) for span in spans):
                why = "these ids are too far from all others, and neither REST nor the stream has confirmed them yet"
                yield QuarantinedRow(entry.recv_ns, Reason.PARKED, line, pair, tuple(spans), why)

    def _held(self, pair: str) -> Spans:
        if pair in self._quarantined:
            return Spans()
        return undisturbed(functools.partial(self._trades.coverage.spans, pair), f"the files of {pair}")
