"""Journal → archive: close the open segment, archive the rows of the closed ones, retire them.

Ids make this exactly once for trades. Then follow, segment by segment, the rows of tables without ids: all of a segment
at once, because some events are found by comparison with the archive.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog

from recorder.archive.file_faults import FAULTS, Fault, diagnose
from recorder.archive.quarantine import Quarantine
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.report_once import ReportOnce
from recorder.disk import undisturbed
from recorder.ingest.drain_tables import TableDrain
from recorder.ingest.drain_trades import TradeDrain
from recorder.ingest.drained_segment import DrainedSegment
from recorder.ingest.quarantined_pairs import QuarantinedPairs
from recorder.ingest.trade_index import index_trades, trade_batches
from recorder.ingest.waiting_lines import WaitingLines
from recorder.journal.journal import Journal
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
        report_once: ReportOnce | None = None,
        quarantined: QuarantinedPairs | None = None,
    ) -> None:
        self.quarantined = QuarantinedPairs(trades.layout) if quarantined is None else quarantined
        self._journal = journal
        self._report_once = ReportOnce() if report_once is None else report_once
        self._trades = trades
        self._quarantine = Quarantine(trades.layout, trades.disk, staging=trades.staging)
        self._waiting_lines = WaitingLines(trades, self._quarantine)
        self._tables = TableDrain(tables, self._quarantine, trades.layout)
        self.keep_raw = keep_raw
        self._latest_s = latest_s
        self._touched: set[str] = set()
        self._lost = False
        self.metrics = metrics
        metrics.journal_bytes.set_function(self._journal_bytes)

    def heal(self) -> int:
        """Archive the waiting lines of pairs whose files can be trusted again; return the number of new trades.

        Raises DiskAtFault, and DiskError if no single pair is the cause.
        """
        added, faults = 0, dict[str, Fault]()
        for pair in self.quarantined.pairs():
            try:
                undisturbed(functools.partial(self._trades.coverage.files, pair, anew=True), f"the files of {pair}")
                released = self._waiting_lines.release(pair)
            except FAULTS as error:
                faults[pair] = diagnose(self._trades.layout, pair, error)
                continue
            added += released
            self.metrics.rows_archived.inc(released)
            self.quarantined.healed(pair)
            self._touched.add(pair)
        self.quarantined.found(faults, of=len(self._trades.layout.pairs()))
        return added

    def drain(self, *paths: Path) -> int:
        """Archive closed segments together and retire them; return the number of new trades.

        Lines of quarantined pairs are set aside. Raises DiskAtFault, and DiskError if no single pair is the cause.
        """
        try:
            return self._drain(paths)
        except BaseException:
            self._report_once = ReportOnce()  # the drain is repeated, and lines may not have reached the quarantine
            raise

    def _drain(self, paths: Sequence[Path]) -> int:
        added = 0
        # Two cores: while one thread parses the next batch, the other compresses, encodes and syncs. Two batches in
        # memory.
        with ThreadPoolExecutor(1, "raw") as compressor, ThreadPoolExecutor(1, "drain") as writer:
            keep, made_s = paths if self.keep_raw else (), self._latest_s()
            preserving = [compressor.submit(self._journal.preserve, path, made_s=made_s) for path in keep]
            closed = [self._segment(path) for path in paths]
            index = index_trades(closed)
            trades = TradeDrain(index, self._trades, self._quarantine, self.quarantined, touched=self._touched)
            writing: Future[int] | None = None
            for batch in trade_batches(index):
                added += writing.result() if writing else 0
                writing = writer.submit(trades.append, batch)
            added += writing.result() if writing else 0
            added += trades.append_refused()
            for one in closed:
                trades.set_aside(one)
                one.report_odd_times()
                self._tables.write(one)
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

    def _segment(self, path: Path) -> DrainedSegment:
        return DrainedSegment(path, self._journal.name_of(path), self._report_once, self._quarantine)

    def _journal_bytes(self) -> int:
        size = self._journal.size
        for path in self._journal.closed():
            with contextlib.suppress(FileNotFoundError):  # retired in the meantime
                size += path.stat().st_size
        return size
