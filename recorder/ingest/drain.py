"""Journal → archive: close the open segment, archive the rows of the closed ones, retire them.

Trades are processed a few pairs at a time, so that each pair gets one file per drain, whatever the number of trades and
pairs. Ids make this exactly once. Then follow, segment by segment, the rows of tables without ids: all of a segment at
once, because some events are found by comparison with the archive.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeAlias, assert_never, cast

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
from recorder.clock import Clock
from recorder.core import evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Renumbered
from recorder.core.model import Event, Instrument, Trade, is_pair
from recorder.core.plausibility import renumbered_from
from recorder.core.report_once import ReportOnce
from recorder.core.trade_ids import Span, Spans
from recorder.disk import undisturbed
from recorder.errors import CorruptFile, CorruptLine, Malformed, StorageError, TableUnusable, UnreadableFile, Unstorable
from recorder.ingest.commit import Commit
from recorder.ingest.conflicting_trades import ConflictingTrades
from recorder.ingest.odd_listing_entries import OddListingEntries
from recorder.ingest.odd_times import OddTimes
from recorder.ingest.quarantined_pairs import QuarantinedPairs, patiently
from recorder.ingest.renumbered_pairs import quarantined_trades
from recorder.ingest.unreadable_lines import UnreadableLines
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.segment import Entry
from recorder.kraken import odd_trades, records
from recorder.kraken.parse import CandleAnswer, OddRow
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
from recorder.ops import process_setup
from recorder.ops.metrics import Metrics
from recorder.runtime.waiting import first_of

BATCH_TRADES: Final = 25_000
"""Trades parsed before they are appended: limits memory to about 50 MB, two batches, whatever the size of the drain."""
TRADE_BYTES: Final = 150
"""Minimum size in bytes of a trade in a frame, approximately: used to estimate how many trades a pair brings."""
TOGETHER_BYTES: Final = 256 * 1024 * 1024
"""Segments are drained together up to this size, so that a pair gets one file for all of them; more is waiting only
after a run that could not drain. About 1.3 M trades, whose offsets take 20 MB."""

TOLD_SINGLY: Final = 100
"""Unreadable rows of a pair that are reported one by one per segment; of the rest only the number is reported."""
ASIDE_BYTES: Final = 4 * 1024 * 1024
"""Quarantined lines are written whenever they reach this size, which limits memory whatever a journal contains."""
_SHOWN: Final = 300
"""Characters of a source, and of a reason, that an event repeats; the quarantine stores the whole line."""

_READ_BYTES: Final = 65_536
"""Consecutive lines of a pair are read together, up to this number of bytes."""

log = structlog.get_logger()


class _Lines:
    """Positions of lines in a segment, as ranges of bytes."""

    __slots__ = ("offsets", "path", "sizes")

    def __init__(self, path: Path) -> None:
        self.path, self.offsets, self.sizes = path, array("Q"), array("Q")

    def add(self, offset: int, size: int) -> None:
        sizes = self.sizes
        if sizes and sizes[-1] < _READ_BYTES and self.offsets[-1] + sizes[-1] + 1 == offset:
            sizes[-1] += 1 + size
        else:
            self.offsets.append(offset)
            sizes.append(size)

    def entries(self) -> Iterator[Entry]:
        """Read and decode the lines, whose checksums were compared when they were found."""
        with self.path.open("rb") as file:
            for offset, size in zip(self.offsets, self.sizes, strict=True):
                for line in os.pread(file.fileno(), size, offset).split(b"\n"):
                    yield segment.decode(line, checked=True)


_Mark: TypeAlias = tuple[int, Counter[str | None]]


class _Closed:
    """A segment being drained: its lines without trades, with parked ids, or corrupt, and the events to report."""

    def __init__(self, path: Path, told: ReportOnce, quarantine: Quarantine) -> None:
        self.path, self.number = path, segment.number_of(path)
        self.others = _Lines(path)
        self.parked = _Lines(path)
        self.corrupt: list[CorruptLine] = []
        self.events: list[Event] = []
        self._kept: list[QuarantinedRow] = []
        self.lost = False
        """Whether a line of trades could not be read, although its ids may have been counted when it was received."""
        self._told = told
        self._quarantine = quarantine
        self._kept_bytes = 0
        self._singly: Counter[str | None] = Counter()
        self._told_us = 0
        self.odd = OddTimes()

    def malformed(self, received_ns: int, source: str, reason: str, pair: str | None = None, **detail: object) -> None:
        said = {"source": source[:_SHOWN], "reason": reason[:_SHOWN], **detail}
        self.events.append(event(received_ns // 1000, EventKind.MALFORMED, pair, **said))
        self._told_us = received_ns // 1000

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
            self.not_understood(entry, error)
            return []
        if unread:
            self.unread(entry, unread)
        self.odd.check(rows, entry.recv_ns, entry.source)
        for pair, reason in odd_trades.stored(rows, self._told):
            log.warning("odd trade", pair=pair, reason=reason)
            self.malformed(entry.recv_ns, entry.source, reason, pair)
        return rows

    def unread(self, entry: Entry, rows: Iterable[OddRow]) -> None:
        """Quarantine the unreadable rows of a line whose other rows can be read, and report each once per run."""
        by_pair: dict[str | None, list[OddRow]] = {}
        for row in rows:
            if self._told.is_first("unread", row.pair, row.raw):
                by_pair.setdefault(row.pair, []).append(row)
        for pair, of_pair in by_pair.items():
            spans = tuple(Spans(row.span for row in of_pair if row.span is not None))
            self.set_aside(entry, Reason.ODD, of_pair[0].reason, pair, spans)
            for row in of_pair:
                self._singly[pair] += 1
                if self._singly[pair] <= TOLD_SINGLY:
                    log.error("row not understood", segment=self.number, pair=pair, reason=row.reason)
                    self.malformed(entry.recv_ns, entry.source, row.reason, pair, **_ids(row.span))

    def set_aside(
        self, entry: Entry, reason: Reason, why: str, pair: str | None = None, spans: tuple[Span, ...] = ()
    ) -> None:
        """Add a line to those to be quarantined."""
        line = segment.encode(entry.recv_ns, entry.source, entry.payload).rstrip(b"\n")
        self._kept.append(QuarantinedRow(entry.recv_ns, reason, line, pair, spans, why[:_SHOWN]))
        self._kept_bytes += len(line)
        if self._kept_bytes >= ASIDE_BYTES:
            self.put_aside()

    def put_aside(self) -> None:
        """Write the collected lines to the quarantine, durably."""
        if self._kept:
            path = self._quarantine.add(self._kept)
            log.warning("lines set aside", segment=self.number, lines=len(self._kept), file=str(path))
        self._kept, self._kept_bytes = [], 0

    def refused(self, entry: Entry, error: Unstorable, pair: str | None = None) -> None:
        """Quarantine a line that can be read but that the archive rejects."""
        self.lost = True
        log.error("journal line refused by the archive", segment=self.number, source=entry.source, reason=str(error))
        self.set_aside(entry, Reason.REFUSED, str(error), pair)
        self.malformed(entry.recv_ns, entry.source, str(error), pair)

    def mark(self) -> _Mark:
        """Return the current state of what is to be reported, for :meth:`back_to`."""
        return len(self.events), self._singly.copy()

    def back_to(self, mark: _Mark) -> None:
        """Drop the reports added since ``mark``, so that they can be made again."""
        told, self._singly = mark
        del self.events[told:]
        self._told = ReportOnce()  # rows quarantined since may be quarantined once more

    def tell_many(self) -> None:
        """Report the number of unreadable rows beyond those reported one by one."""
        for pair, count in self._singly.items():
            if count > TOLD_SINGLY:
                reason = f"{count - TOLD_SINGLY} more rows could not be read: they are stored as well"
                detail = {"source": "journal", "reason": reason}
                self.events.append(event(self._told_us, EventKind.MALFORMED, pair, **detail))

    def tell_odd_times(self) -> None:
        """Report trades with impossible times."""
        for told in self.odd.reports():
            detail = {"source": told.source, "reason": told.reason}
            self.events.append(event(told.received_ns // 1000, EventKind.MALFORMED, told.pair, **detail))

    def not_understood(self, entry: Entry, error: Malformed) -> None:
        # The line was readable when it was received, so another release wrote it.
        log.error("journal line not understood", segment=self.number, source=entry.source, reason=str(error))
        self.set_aside(entry, Reason.MALFORMED, str(error))
        self.malformed(entry.recv_ns, entry.source, str(error))


def _ids(span: Span | None) -> dict[str, int]:
    if span is None:
        return {}
    return {"trade_id": span.first} if len(span) == 1 else {"first_id": span.first, "last_id": span.last}


_ByPair: TypeAlias = dict[str, list[tuple[_Closed, _Lines]]]


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
            self._quarantine.add([msgspec.structs.replace(kept[0], reason=Reason.REFUSED, why=str(error)[:_SHOWN])])
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
            closed = [_Closed(path, self._told, self._quarantine) for path in paths]
            found, differing = _found(closed), ConflictingTrades()
            refused, faults = set[str](), dict[str, Fault]()
            writing: Future[int] | None = None
            for batch in _batches(found):
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

    def _write(self, closed: _Closed) -> None:
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

    def _write_others(self, closed: _Closed, *, singly: bool) -> None:
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
        self._tables.write(closed.number)

    def _parked(self, entry: Entry, closed: _Closed) -> Iterator[QuarantinedRow]:
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

    def _append_rest(self, pair: str, found: _ByPair) -> int:
        """Archive the rows of a pair that fit, validating every number again; quarantine rows and lines that do not."""
        added, waiting, held = 0, list[tuple[_Closed, Entry, list[Trade]]](), 0
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

    def _append_halves(self, pair: str, lines: Sequence[tuple[_Closed, Entry, list[Trade]]]) -> int:
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

    def _set_aside(self, closed: _Closed, differing: ConflictingTrades, found: _ByPair) -> None:
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

    def _set_waiting_aside(self, closed: _Closed, kept: Iterable[QuarantinedRow]) -> Iterator[QuarantinedRow]:
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

    def _tell_renumbered(self, closed: _Closed, pair: str, kept: Sequence[QuarantinedRow], path: Path) -> None:
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

    def _take(self, entry: Entry, closed: _Closed) -> None:
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
                for table, parts in carrying.tables().items():
                    for value, rows in parts.items():
                        self._tables.add(Branch(BY_NAME[table], value), rows)
            case UnknownRecord():
                raise Malformed(f"a line of {entry.source}, which this release does not know")
            case UnreadableRecord():
                self._unread.keep(entry)  # a note gives the reason
            case StreamedTrades() | ParkedTrades() | PolledTrades() | Header() | NotedFrame():
                pass  # trades are drained separately
            case never:
                assert_never(never)

    def _take_candles(self, entry: Entry, came: CandleAnswer, closed: _Closed) -> None:
        if came.odd:
            closed.unread(entry, came.odd)
        taken = self._candles.take(came.rows, entry.recv_ns // 1000)
        self._tables.add(Branch(EVENTS), taken.events)
        if taken.unreadable is not None:
            log.error("candles archived without comparison", segment=closed.number, reason=str(taken.unreadable))


def _found(segments: Iterable[_Closed]) -> _ByPair:
    """Index the lines with trades by pair, and the other lines of each segment.

    Each line is indexed once: one with trades of several pairs belongs to the pair of its first row.
    """
    found: _ByPair = {}
    for closed in segments:
        received_ns = 0
        of_pair = defaultdict[str, _Lines](functools.partial(_Lines, closed.path))
        for entry, offset, size in segment.located(closed.path):
            if isinstance(entry, CorruptLine):
                closed.lost = True
                closed.corrupt.append(entry)
                closed.malformed(received_ns, "journal", str(entry))  # after the last line whose time is known
                continue
            received_ns = entry.recv_ns
            pair = records.streamed_pair(entry)  # of nearly all of millions of lines
            if pair is None:
                pair = _pair_in(entry, closed, offset, size)
            if pair is not None:
                of_pair[pair].add(offset, size)
        for pair, lines in of_pair.items():
            found.setdefault(pair, []).append((closed, lines))
    return found


def _pair_in(entry: Entry, closed: _Closed, offset: int, size: int) -> str | None:
    """Return whose trade is the first in a line; a line without trades is one of the others."""
    match records.read(entry):
        case StreamedTrades() | ParkedTrades() | PolledTrades() as record:
            if isinstance(record, ParkedTrades):
                closed.parked.add(offset, size)
            pair = record.first_pair()
            rows = closed.trades(entry) if pair is None else []
            return rows[0].pair if rows else pair
        case (
            PublishedCandles()
            | ListingRecord()
            | TableRows()
            | Header()
            | NotedFrame()
            | UnreadableRecord()
            | UnknownRecord()
        ):
            closed.others.add(offset, size)
            return None
        case never:
            assert_never(never)


def _batches(found: _ByPair) -> Iterator[dict[str, list[Trade]]]:
    """Yield trades by pair, in batches: all trades of a pair in one batch, unless they alone exceed the limit."""
    batch, waiting = defaultdict[str, list[Trade]](list), 0
    for pair, parts in found.items():
        coming = sum(sum(lines.sizes) for _, lines in parts) // TRADE_BYTES
        if batch and waiting + coming > BATCH_TRADES:
            yield _sorted(batch)
            batch, waiting = defaultdict(list), 0
        for closed, lines in parts:
            for entry in lines.entries():
                rows = closed.trades(entry)
                batch[pair] += rows
                waiting += len(rows)
                if waiting >= BATCH_TRADES:
                    yield _sorted(batch)
                    batch, waiting = defaultdict(list), 0
    yield _sorted(batch)


def _sorted(batch: dict[str, list[Trade]]) -> dict[str, list[Trade]]:
    """Return the batch by the pair of each row; nearly always a line has rows of one pair only."""
    if all({row.pair for row in rows} <= {pair} for pair, rows in batch.items()):
        return batch
    by_pair = defaultdict[str, list[Trade]](list)
    for rows in batch.values():
        for row in rows:
            by_pair[row.pair].append(row)
    return by_pair


def together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Group segments, which are in order, into those that are drained together."""
    taken, size = [], 0
    for path in paths:
        taken.append(path)
        size += path.stat().st_size
        if size >= TOGETHER_BYTES:
            yield taken
            taken, size = [], 0
    if taken:
        yield taken


class Drain:
    """Drains at intervals, and sooner when many trades are waiting.

    ``every_s`` returns the interval in seconds for a number of ``pairs``, a live collection. ``drained`` is called
    after each drain with the pairs whose trades were drained; None if lines of unknown pairs were lost.
    """

    def __init__(
        self,
        drainer: Drainer,
        journal: Journal,
        commit: Commit,
        *,
        every_s: Callable[[int], float],
        pairs: Collection[str],
        drained: Callable[[Collection[str] | None], None],
        clock: Clock,
    ) -> None:
        self._drainer = drainer
        self._journal = journal
        self._commit = commit
        self._every_s = every_s
        self._pairs = pairs
        self._drained = drained
        self._undrained = journal.number
        """The lowest number of a segment not drained yet; numbers from before this run may be missing."""
        self._clock = clock
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._drained_s = clock.monotonic()

    async def run(self) -> None:
        """Drain the segments of an earlier run, then at intervals, until :meth:`stop`."""
        self._drained_s = self._clock.monotonic()
        while True:
            last = self._stopping.is_set()  # checked before this drain begins, so that it includes everything
            await self.everything()
            if last:
                return
            await self._due()

    @property
    def every_s(self) -> float:
        """Interval between drains in seconds."""
        return self._every_s(len(self._pairs))

    def want(self, every_s: Callable[[int], float]) -> None:
        """Change the interval, as the constructor's ``every_s``."""
        self._every_s = every_s
        self._changed.set()

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:  # noqa: ARG002 -- their number counts
        """Compute the wait again: it may depend on the number of pairs."""
        self._changed.set()

    def drained_s(self) -> float:
        """Return the seconds since the last drain ended or, before the first, since the start."""
        return self._clock.monotonic() - self._drained_s

    def stop(self) -> None:
        """Make :meth:`run` drain once more and return."""
        self._stopping.set()

    async def everything(self) -> None:
        """Drain all that is journalled now."""
        started_s = self._clock.monotonic()
        await self._commit.rotate()
        if not await self.closed():
            return
        self._drained_s = self._clock.monotonic()
        self._drainer.metrics.drained(self._drained_s - started_s, self._clock.wall_ns())

    async def closed(self) -> bool:
        """Drain all closed segments, oldest first; return whether none had to stay."""
        done = True
        waiting, self._undrained = range(self._undrained, self._journal.number), self._journal.number
        closed = self._journal.closed()
        vanished = set(waiting).difference(map(segment.number_of, closed))
        if vanished:
            log.error("journal segments vanished", segments=sorted(vanished))
        await patiently(self._clock, lambda: asyncio.to_thread(self._drainer.heal))
        for paths in together(closed):
            try:
                await patiently(self._clock, lambda paths=paths: asyncio.to_thread(self._drainer.drain, *paths))  # type: ignore[misc]
            except TableUnusable as error:  # trades are archived, and add nothing when they are drained again
                remedy = "let this user list and write it: the segments stay in the journal until then"
                log.error("table cannot be used", reason=str(error), remedy=remedy)
                done = False
                break
            await asyncio.to_thread(process_setup.release_memory)
        await asyncio.to_thread(self._drainer.quarantined.measure)
        touched = self._drainer.touched()
        self._drained(None if vanished else touched)
        return done

    async def _due(self) -> None:
        since_s = self._clock.monotonic()
        sooner = (self._commit.drain_due, self._stopping)
        while not any(event.is_set() for event in sooner):
            self._changed.clear()
            wait_s = since_s + self.every_s - self._clock.monotonic()
            if wait_s <= 0:
                break
            await first_of(self._clock.sleep(wait_s), self._changed.wait(), *(event.wait() for event in sooner))
