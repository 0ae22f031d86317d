"""Journal → archive: close the open segment, archive the rows of the closed ones, retire them.

Ids make this exactly once for trades. Then follow, segment by segment, the rows of tables without ids: all of a segment
at once, because some events are found by comparison with the archive.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import assert_never, cast

import msgspec
import structlog

from recorder.archive import quarantine, renumbering
from recorder.archive.candles import CandleArchive
from recorder.archive.datasets import BY_NAME, EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.file_faults import FAULTS, Fault, diagnose
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Renumbered
from recorder.core.model import Trade, is_pair
from recorder.core.plausibility import renumbered_from
from recorder.core.report_once import ReportOnce
from recorder.core.trade_ids import Spans
from recorder.disk import undisturbed
from recorder.errors import CorruptFile, Malformed, StorageError, UnreadableFile, Unstorable
from recorder.ingest.conflicting_trades import ConflictingTrades
from recorder.ingest.drained_segment import ASIDE_BYTES, SHOWN_CHARS, DrainedSegment
from recorder.ingest.odd_listing_entries import OddListingEntries
from recorder.ingest.quarantined_pairs import QuarantinedPairs
from recorder.ingest.renumbered_pairs import quarantined_trades
from recorder.ingest.trade_index import BATCH_TRADES, LinesByPair, index_trades, trade_batches
from recorder.ingest.unreadable_lines import UnreadableLines
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.ohlc_answers import CandleAnswer
from recorder.kraken.records import (
    Header,
    ListingRecord,
    Note,
    NotedFrame,
    ParkedTrades,
    PolledTrades,
    PublishedCandles,
    StreamedTrades,
    TableRows,
    UnknownRecord,
    UnreadableRecord,
)
from recorder.ops.metrics import Metrics

log = structlog.get_logger()


class Drainer:
    """Moves closed segments into the archive. Blocking; repeating any part of it after a crash adds nothing.

    ``keep_raw`` may change between two segments. ``latest_s`` returns the latest possible time now (seconds since
    1970): raw copies get that modification time, so that a slow clock never makes one look older than it is.
    """

    def __init__(
        self,
        journal: Journal,
        trades: TradeArchive,
        tables: SegmentTables,
        *,
        keep_raw: bool,
        latest_s: Callable[[], float],
        metrics: Metrics,
        told: ReportOnce | None = None,
        quarantined: QuarantinedPairs | None = None,
    ) -> None:
        self.quarantined = QuarantinedPairs(trades.layout) if quarantined is None else quarantined
        self._journal = journal
        self._told = ReportOnce() if told is None else told
        self._trades = trades
        self._tables = tables
        self._instruments = InstrumentArchive(tables)
        self._candles = CandleArchive(tables)
        self._quarantine = Quarantine(trades.layout, trades.disk, staging=trades.staging)
        self._odd_entries = OddListingEntries(self._quarantine, trades.layout)
        self._unread = UnreadableLines(self._quarantine)
        self.keep_raw = keep_raw
        self._latest_s = latest_s
        self._touched: set[str] = set()
        self._lost = False
        self.metrics = metrics
        metrics.journal_bytes.set_function(self._waiting)

    def heal(self) -> int:
        """Archive the waiting lines of pairs whose files can be trusted again; return the number of new trades.

        Raises DiskAtFault, and DiskError if no single pair is the cause.
        """
        added, faults = 0, dict[str, Fault]()
        for pair in self.quarantined.pairs():
            try:
                undisturbed(functools.partial(self._trades.coverage.files, pair, anew=True), f"the files of {pair}")
                added += self._released(pair)
            except FAULTS as error:
                faults[pair] = diagnose(self._trades.layout, pair, error)
                continue
            self.quarantined.healed(pair)
            self._touched.add(pair)
        self.quarantined.found(faults, of=len(self._trades.layout.pairs()))
        return added

    def _released(self, pair: str) -> int:
        """Archive the waiting lines of a pair as far as they are not archived yet; the lines stay in the quarantine."""
        held, added = self._trades.coverage.spans(pair), 0
        renumbered = evidence.renumbered(self._trades.claimed.claims(pair)) is not None
        for part in quarantine.parts(self._trades.layout, pair, Reason.WAITING):
            new = [one for one in part if not all(held.covers(span) for span in one.spans)]
            if renumbered and new:  # these rows wait until the renumbering is settled
                self._quarantine.add([msgspec.structs.replace(one, reason=Reason.RENUMBERED) for one in new])
            elif new:
                added += self._replayed(pair, new)
        if added:
            log.warning("what waited is archived", pair=pair, rows=added)
        self.metrics.rows_archived.inc(added)
        return added

    def _replayed(self, pair: str, kept: Sequence[QuarantinedRow]) -> int:
        try:
            came = quarantine.replay(
                kept, self._trades, lambda one: (row for row in quarantined_trades(one) if row.pair == pair)
            )
        except Unstorable as error:
            if len(kept) > 1:
                return sum(self._replayed(pair, [one]) for one in kept)
            self._quarantine.add(
                [msgspec.structs.replace(kept[0], reason=Reason.REFUSED, why=str(error)[:SHOWN_CHARS])]
            )
            return 0
        return Spans(came.get(pair, ())).count()

    def drain(self, *paths: Path) -> int:
        """Archive closed segments together and retire them; return the number of new trades.

        Lines of quarantined pairs are set aside. Raises DiskAtFault, and DiskError if no single pair is the cause.
        """
        try:
            return self._drain(paths)
        except BaseException:
            self._told = ReportOnce()  # the drain is repeated, and lines may not have reached the quarantine
            raise

    def _drain(self, paths: Sequence[Path]) -> int:
        added = 0
        # Two cores: while one thread parses the next batch, the other compresses, encodes and syncs. Two batches in
        # memory.
        with ThreadPoolExecutor(1, "raw") as compressor, ThreadPoolExecutor(1, "drain") as writer:
            keep, made_s = paths if self.keep_raw else (), self._latest_s()
            preserving = [compressor.submit(self._journal.preserve, path, made_s=made_s) for path in keep]
            closed = [DrainedSegment(path, self._told, self._quarantine) for path in paths]
            found, differing = index_trades(closed), ConflictingTrades()
            refused, faults = set[str](), dict[str, Fault]()
            writing: Future[int] | None = None
            for batch in trade_batches(found):
                added += writing.result() if writing else 0
                writing = writer.submit(self._append, batch, differing, refused, faults)
            added += writing.result() if writing else 0
            for pair in sorted(refused):
                with self._blamed(pair, differing, faults):
                    added += self._append_rest(pair, found)
            if faults:
                self.quarantined.found(faults, of=len(self._trades.layout.pairs()))
            for one in closed:
                if differing:
                    self._set_aside(one, differing, found)
                self._write(one)
            for preserved in preserving:
                preserved.result()
        for one in closed:
            self._lost |= one.lost
            if one.corrupt:
                self._journal.set_aside(one.path, [error.line for error in one.corrupt])
                first, count = str(one.corrupt[0]), len(one.corrupt)
                log.error("corrupt journal lines set aside", segment=one.path.name, lines=count, first=first)
            self._journal.retire(one.path, keep=False)  # the raw copy, if wanted, exists already
        self.metrics.rows_archived.inc(added)
        return added

    def touched(self) -> set[str] | None:
        """Return the pairs with trades drained since the last call; None if lines of unknown pairs were lost."""
        touched, lost = self._touched, self._lost
        self._touched, self._lost = set(), False
        return None if lost else touched

    def _waiting(self) -> int:
        """Return the size of the journal in bytes."""
        size = self._journal.size
        for path in self._journal.closed():
            with contextlib.suppress(FileNotFoundError):  # retired in the meantime
                size += path.stat().st_size
        return size

    def _write(self, closed: DrainedSegment) -> None:
        """Quarantine parked ids, and add the segment's rows of the tables without ids."""
        kept = [one for entry in closed.parked.entries() for one in self._parked(entry, closed)]
        if kept:
            path = self._quarantine.add(kept)
            log.warning("parked ids quarantined", segment=closed.number, lines=len(kept), file=str(path))
        closed.tell_odd_times()
        mark = closed.mark()
        try:
            self._write_others(closed, singly=False)
        except Unstorable:  # the rows of an unknown line: all are added again, one line at a time
            closed.back_to(mark)
            self._write_others(closed, singly=True)

    def _write_others(self, closed: DrainedSegment, *, singly: bool) -> None:
        """Add the segment's rows of the tables without ids. Raises Unstorable if some do not fit, unless ``singly``.

        Lines are quarantined before the rows are written, because the segment is retired after that.
        """
        self._tables.begin(singly=singly)
        for entry in closed.others.entries():
            try:
                self._take(entry, closed)
            except Malformed as error:
                closed.not_understood(entry, error)
            except Unstorable as error:
                if not singly:
                    raise
                closed.refused(entry, error)
            except (StorageError, UnreadableFile) as error:
                # A damaged file of listings must not keep the rest from being archived; the line remains in raw/.
                log.error("listing not archived", segment=closed.number, reason=str(error))
        closed.tell_many()
        self._tables.add(Branch(EVENTS), closed.events)
        closed.put_aside()
        self._tables.write(self._journal.name_of(closed.path))

    def _parked(self, entry: Entry, closed: DrainedSegment) -> Iterator[QuarantinedRow]:
        """Yield, by pair, a line with parked ids that are not all archived; released ids were journalled again."""
        try:
            rows = cast("ParkedTrades", records.read(entry)).parked()
        except Malformed as error:
            closed.not_understood(entry, error)
            return
        line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
        for pair in filter(is_pair, dict.fromkeys(row.pair for row in rows)):
            spans = Spans.of_ids(row.trade_id for row in rows if row.pair == pair)
            held = self._held(pair)
            if not all(held.covers(span) for span in spans):
                why = "these ids are too far from all others, and neither REST nor the stream has confirmed them yet"
                yield QuarantinedRow(entry.recv_ns, Reason.PARKED, line, pair, tuple(spans), why)

    def _held(self, pair: str) -> Spans:
        if pair in self.quarantined:
            return Spans()
        return undisturbed(functools.partial(self._trades.coverage.spans, pair), f"the files of {pair}")

    @contextlib.contextmanager
    def _blamed(self, pair: str, differing: ConflictingTrades, faults: dict[str, Fault]) -> Iterator[None]:
        """Let the lines of ``pair`` wait if its own files cause the error that is raised."""
        try:
            yield
        except FAULTS as error:
            faults[pair] = diagnose(self._trades.layout, pair, error)
            differing.wait(pair)

    def _append(
        self,
        batch: Mapping[str, Sequence[Trade]],
        differing: ConflictingTrades,
        refused: set[str],
        faults: dict[str, Fault],
    ) -> int:
        """Archive a batch; pairs with rows that do not fit are added to ``refused``."""
        self._touched.update(batch)
        added = 0
        for pair, rows in batch.items():
            if pair in self.quarantined:
                differing.wait(pair)
                continue
            with self._blamed(pair, differing, faults):
                added += self._append_pair(pair, rows, differing, refused)
        return added

    def _append_pair(self, pair: str, rows: Sequence[Trade], differing: ConflictingTrades, refused: set[str]) -> int:
        """Append rows, up to the one from which the exchange renumbers the pair."""
        if not differing.is_aside(pair) and evidence.renumbered(self._trades.claimed.claims(pair)) is not None:
            differing.set_aside(pair)
        if differing.is_aside(pair):
            differing.set_aside(pair, rows)
            return 0
        try:
            repeated = self._trades.repeated(pair, rows)
        except (CorruptFile, UnreadableFile) as error:  # stored rows cannot be compared; verify reports the file
            log.error("repeats not compared", pair=pair, reason=str(error))
            repeated = []
        except Unstorable:
            refused.add(pair)
            return 0
        differing.add(repeated)
        first = renumbered_from(repeated)
        if first is not None:
            begins = next(index for index, row in enumerate(rows) if row is first)
            differing.set_aside(pair, rows[begins:])
            rows = rows[:begins]
        try:
            return self._trades.append(pair, rows).count()
        except Unstorable:
            refused.add(pair)
            return 0

    def _append_rest(self, pair: str, found: LinesByPair) -> int:
        """Archive the rows of a pair that fit, validating every number again; quarantine rows and lines that do not."""
        added, waiting, held = 0, list[tuple[DrainedSegment, Entry, list[Trade]]](), 0
        for closed, lines in (part for parts in found.values() for part in parts):
            for entry in lines.entries():
                try:
                    rows, unread = records.distrusted(entry)
                except Malformed as error:
                    closed.lost = True
                    closed.not_understood(entry, error)
                    continue
                closed.unread(entry, unread)
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
                closed.refused(entry, error, pair if is_pair(pair) else None)
                return 0
        half = len(lines) // 2
        return self._append_halves(pair, lines[:half]) + self._append_halves(pair, lines[half:])

    def _set_aside(self, closed: DrainedSegment, differing: ConflictingTrades, found: LinesByPair) -> None:
        """Quarantine the segment's lines that were set aside or conflict with stored rows, and report them."""
        lines = [lines for parts in found.values() for of, lines in parts if of is closed]
        kept = list(self._set_waiting_aside(closed, (one for part in lines for one in differing.kept(part.entries()))))
        if not kept:
            return
        path = self._quarantine.add(kept)
        for pair, reason in dict.fromkeys((one.pair, one.reason) for one in kept):
            of_pair = [one for one in kept if (one.pair, one.reason) == (pair, reason)]
            if pair is not None and reason == Reason.RENUMBERED:
                self._tell_renumbered(closed, pair, of_pair, path)
                continue
            detail = differing.detail(of_pair)
            log.error("ids came with other content", pair=pair, file=str(path), **detail)
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
            if size >= ASIDE_BYTES:
                self._quarantine.add(waiting)
                waiting, size = [], 0
        if waiting:
            path, pairs = self._quarantine.add(waiting), sorted({str(one.pair) for one in waiting})
            log.warning(
                "lines of quarantined pairs moved to quarantine", segment=closed.number, pairs=pairs, file=str(path)
            )

    def _tell_renumbered(self, closed: DrainedSegment, pair: str, kept: Sequence[QuarantinedRow], path: Path) -> None:
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

    def _take(self, entry: Entry, closed: DrainedSegment) -> None:
        match records.read(entry):
            case ListingRecord() as listing:
                changed = self._instruments.add(entry.recv_ns // 1000, listing.listed())
                odd = self._odd_entries.report(entry, listing, changed, self._instruments.keys())
                self._tables.add(Branch(EVENTS), [*changed.events, *odd])
            case Note() as note if (told := note.event()).kind == EventKind.DELISTED and told.pair is not None:
                self._tables.add(Branch(EVENTS), [told])
                self._instruments.delist(entry.recv_ns // 1000, told.pair)
            case PublishedCandles() as answer:
                self._take_candles(entry, answer.answer(), closed)
            case TableRows() as carrying:
                for value, rows in carrying.parts().items():
                    self._tables.add(Branch(BY_NAME[carrying.table], value), rows)
            case UnknownRecord():
                raise Malformed(f"a line of {entry.source}, which this release does not know")
            case UnreadableRecord():
                self._unread.keep(entry)  # a note gives the reason
            case StreamedTrades() | ParkedTrades() | PolledTrades() | Header() | NotedFrame():
                pass  # trades are drained separately
            case never:
                assert_never(never)

    def _take_candles(self, entry: Entry, came: CandleAnswer, closed: DrainedSegment) -> None:
        if came.odd:
            closed.unread(entry, came.odd)
        taken = self._candles.take(came.rows, entry.recv_ns // 1000)
        self._tables.add(Branch(EVENTS), taken.events)
        if taken.unreadable is not None:
            log.error("candles archived without comparison", segment=closed.number, reason=str(taken.unreadable))
