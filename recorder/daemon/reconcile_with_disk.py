"""Comparison of memory with the disk: ids in memory as stored, void, disowned or confirmed must be what a start finds.

Files vanish, are replaced or damaged, and journal lines turn out to be corrupt at the drain: their claims are withdrawn
here, so that the ids are missing, and requested again, immediately and not at the next start. Data that other processes
add to the archive, by ``recorder backfill`` or ``merge``, is adopted.

The order ensures that a sound archive is never reported: first a copy of the claims in memory, then the journal, then
footers and events. What was claimed at the copy is durable, rows move from the journal to the archive and never back,
and anything not found is searched again under the locks that keep files in place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

import structlog

from recorder.archive import load_ledger, locks, quarantine, stored_evidence
from recorder.archive.datasets import EVENTS, TRADES, Branch
from recorder.archive.event_rows import iso
from recorder.archive.file_faults import Fault, diagnose
from recorder.archive.footer import imported_spans
from recorder.archive.load_ledger import DAMAGE
from recorder.archive.quarantine import Reason
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Promise
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.ledger_difference import LedgerClaims
from recorder.core.trade_ids import Run, Spans, runs_of
from recorder.disk import undisturbed
from recorder.errors import StorageError
from recorder.ingest.quarantined_pairs import QuarantinedPairs, patiently
from recorder.ingest.renumbered_pairs import quarantined_trades
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

LOOK_S: Final = 60.0
"""Interval of checks of the footers: at a thousand pairs a check takes about 0.2 s of a thread, for the names and times
of the files."""
ALL_S: Final = 3600.0
"""Interval of complete comparisons: they parse the journal, which takes a second of a thread at most."""
LOCKED_TOGETHER: Final = 64
"""Pairs that are read again under their locks at once: each lock is a file handle, and each such read includes the
journal."""

log = structlog.get_logger()


class Planner(Protocol):
    """Fetches missing trades."""

    def hole_seen(self) -> None:
        """Check the ledger soon."""
        ...

    def plan_anew(self, pair: str) -> None:
        """Check the ledger soon, and end the current batch of ``pair``."""
        ...


class Reconcile:
    """Compares ``ledger`` with the ``archive`` and its ``journal``; differences are corrected and reported.

    ``drain_soon`` is set if the open segment is gone: lines written to it are lost until the next one begins.
    """

    def __init__(
        self,
        ledger: Ledger,
        archive: TradeArchive,
        journal: Journal,
        context: Context,
        *,
        planner: Planner,
        drain_soon: asyncio.Event,
        quarantined: QuarantinedPairs | None = None,
        look_s: float = LOOK_S,
        all_s: float = ALL_S,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._journal = journal
        self._clock = context.clock
        self._notes = context.notes
        self._metrics = context.metrics
        self._planner = planner
        self._drain_soon = drain_soon
        self._quarantined = QuarantinedPairs(archive.layout) if quarantined is None else quarantined
        self._look_s = look_s
        self._all_s = all_s
        self._events = stored_evidence.EvidenceReader(archive.layout)
        self._due: set[str] = set()
        self._all_due = False
        self._woken = asyncio.Event()
        # Coverage in the footers at the last check, by pair.
        self._archived: dict[str, Spans] = {}
        self._damaged: set[str] = set()  # at the last check

    def drained(self, pairs: Collection[str] | None) -> None:
        """Compare ``pairs`` soon, since their rows were moved; None stands for all pairs, since some rows were lost."""
        self._all_due |= pairs is None
        self._due.update(pairs or ())
        self._woken.set()

    async def run(self) -> None:
        """Compare until cancelled."""
        look_s, all_s = (self._clock.monotonic() + each_s for each_s in (self._look_s, self._all_s))
        while True:
            if (wait_s := look_s - self._clock.monotonic()) > 0:
                await first_of(self._clock.sleep(wait_s), self._woken.wait())
            self._woken.clear()
            if self._clock.monotonic() >= look_s:
                await patiently(self._clock, self._look)
                look_s = self._clock.monotonic() + self._look_s
            if self._all_due or self._clock.monotonic() >= all_s:
                self._due |= await self._everything()
                all_s = self._clock.monotonic() + self._all_s
            due, self._due, self._all_due = self._due, set(), False
            if due:
                await self._compare(due)

    async def _everything(self) -> set[str]:
        return {*self._ledger, *await asyncio.to_thread(self._archive.layout.pairs)}

    async def _look(self) -> None:
        """Check the footers alone: add new ids, and schedule a comparison of pairs that have lost some."""
        if not await asyncio.to_thread(lambda: self._journal.is_there):
            self._drain_soon.set()
        pairs, faults = await self._everything(), dict[str, Fault]()
        for pair in pairs:
            try:
                await self._look_at(pair)
            except FileNotFoundError:  # a compaction ran meanwhile, and the next check suffices
                continue
            except DAMAGE as error:
                faults[pair] = diagnose(self._archive.layout, pair, error)
            except StorageError:  # its files keep changing
                continue
            else:
                if pair in self._quarantined:  # it can be trusted again: the drain archives the waiting lines
                    self._drain_soon.set()
                    self._due.add(pair)
        self._quarantined.found(faults, of=len(pairs))
        self._due |= faults.keys() - self._damaged
        self._damaged = set(faults)

    async def _look_at(self, pair: str) -> None:
        files = await asyncio.to_thread(self._archive.coverage.files, pair, anew=True)
        if self._quarantined.is_paused(pair):
            return
        runs = [run for file in files for run in file.footer.runs]
        self._learn_promise(pair, {file.footer.promise for file in files})
        claims = await asyncio.to_thread(self._archive.claimed.claims, pair)
        if claims - self._ledger.of(pair).disownings:  # another process disowned ids, or undid that
            self._due.add(pair)
        archived, before = Spans(run.span for run in runs), self._archived.get(pair, Spans())
        self._archived[pair] = archived
        if archived == before:
            return
        if any(archived.missing(span) for span in before):
            self._due.add(pair)
        new = [run for run in runs if not self._ledger.of(pair).spans.covers(run.span)]
        if new:
            self._ledger.observe_imported(pair, imported_spans(file.footer for file in files))
            self._ledger.observe_all(new)
            self._planner.hole_seen()

    def _learn_promise(self, pair: str, found: Collection[Promise | None]) -> None:
        """Add the promises of ``pair`` found in files, which may come from another archive."""
        known = self._ledger.of(pair).promise
        promise = evidence.earliest(known, *found)
        if promise is not None and promise != known:
            for note in evidence.notes(pair, promise):
                self._ledger.know(note)
            self._planner.hole_seen()

    async def _compare(self, pairs: Collection[str]) -> None:
        """Compare ``pairs`` with the disk, and correct differences."""
        earlier = {pair: LedgerClaims.of(self._ledger.of(pair)) for pair in pairs}
        self._ledger.mark()
        found: dict[str, PairLedger] = {}
        try:
            found = await patiently(self._clock, lambda: asyncio.to_thread(self._found, earlier))
        except StorageError as error:
            log.error("memory not compared with the disk", reason=str(error))
        on_disk = {pair: LedgerClaims.of(account) for pair, account in found.items()}
        lost = {pair: gone for pair, claims in on_disk.items() if (gone := earlier[pair].difference(claims))}
        learnt = [
            pair for pair, claims in on_disk.items() if self._is_news(claims, LedgerClaims.of(self._ledger.of(pair)))
        ]
        learnt += [pair for pair, one in found.items() if one.damaged != self._ledger.of(pair).damaged]
        self._ledger.restate(found[pair] for pair in {*lost, *learnt})
        if learnt:
            self._planner.hole_seen()
        for pair in lost:
            self._planner.plan_anew(pair)
        if self._quarantined.restated(on_disk):
            self._planner.hole_seen()
        for pair, gone in lost.items():
            await self._report(pair, gone)

    @staticmethod
    def _is_news(disk: LedgerClaims, memory: LedgerClaims) -> bool:
        return bool(disk.difference(memory)) or disk.has_disowned(memory)

    async def _report(self, pair: str, gone: LedgerClaims) -> None:
        detail: dict[str, object] = {}
        parts = [*gone.held, *gone.void, *gone.unreadable]
        if parts:
            detail |= {"first_id": min(part.first for part in parts), "last_id": max(part.last for part in parts)}
            detail |= {"held": gone.held.count(), "void": gone.void.count()}
        if gone.unreadable:
            detail["unreadable"] = gone.unreadable.count()
        if gone.held:
            gaps = self._ledger.of(pair).fetchable_gaps()
            fetched_again = Spans(part for gap in gaps for part in gone.held.within(gap.span))
            detail["not_fetched"] = gone.held.count() - fetched_again.count()
        if gone.confirmed is not None:
            detail["confirmed_until"] = iso(gone.confirmed.until_us)
        if gone.promise is not None:
            detail["promised"] = iso(gone.promise.time_us)
        if gone.disownings:
            detail["disownings"] = len(gone.disownings)
        self._metrics.memory_differences.inc()
        log.error("stored data is gone from the disk", pair=pair, **detail)
        await self._notes.event(EventKind.MEMORY_DIFFERED, pair=pair, **detail)
        if gone.promise is not None:
            await self._promise_again(pair, gone.promise)
        for claim in sorted(gone.disownings, key=lambda one: one.time_us):  # the owner's decision holds as well
            await self._notes.evidence(claim)

    async def _promise_again(self, pair: str, promise: Promise) -> None:
        """Note a promise again: it holds for ever, whatever happens to the file that contained it."""
        for note in evidence.notes(pair, promise):
            await self._notes.evidence(note)

    def _found(self, earlier: Mapping[str, LedgerClaims]) -> dict[str, PairLedger]:
        """Return the state of pairs on disk; ids in a file that cannot be read are missing."""
        found = self._read(earlier)
        accused = iter([pair for pair, account in found.items() if earlier[pair].difference(LedgerClaims.of(account))])
        while some := list(islice(accused, LOCKED_TOGETHER)):
            with self._still(some):
                again = self._read(some)
            for pair in some:
                found.pop(pair)
            found |= again
        return found

    @contextlib.contextmanager
    def _still(self, pairs: Collection[str]) -> Iterator[None]:
        """Hold the locks that keep files of ``pairs`` and events in place. No other holder waits for a second lock."""
        archive = self._archive
        with contextlib.ExitStack() as held:
            for branch in (*(Branch(TRADES, pair) for pair in sorted(pairs)), Branch(EVENTS)):
                held.enter_context(locks.writing(archive.layout, archive.disk, branch))
            yield

    def _read(self, pairs: Collection[str]) -> dict[str, PairLedger]:
        layout, wanted = self._archive.layout, frozenset(pairs)

        def look() -> dict[str, PairLedger]:
            disk = Ledger()
            lines = (line for path in segment.segments(layout.journal) for line in segment.entries(path))
            claims = (claim for claim in records.claims(lines) if claim.pair in wanted)
            loaded = load_ledger.load(
                disk,
                layout,
                claims,
                coverage=self._archive.coverage,
                pairs=sorted(wanted),
                read_evidence=self._events.read,
            )
            faults = {pair: diagnose(layout, pair, error) for pair, error in loaded.damaged.items()}
            self._quarantined.found(faults, of=len(layout.pairs()))
            for pair in faults:
                readable, disk.of(pair).damaged = self._archive.coverage.readable(pair)
                disk.observe_all(run for file in readable for run in file.footer.runs)
                disk.observe_imported(pair, imported_spans(file.footer for file in readable))
            for pair in wanted.intersection((*faults, *self._quarantined.pairs())):
                disk.observe_all(self._waiting(pair))
            return {pair: disk.of(pair) for pair in wanted}

        # The rows of a segment retired in the meantime are in the archive: read again.
        return undisturbed(look, f"the segments in {layout.journal}")

    def _waiting(self, pair: str) -> list[Run]:
        """Return the runs of the waiting lines of a quarantined pair: they are durable."""
        parts = quarantine.parts(self._archive.layout, pair, Reason.WAITING)
        return [
            run
            for part in parts
            for run in runs_of([row for kept in part for row in quarantined_trades(kept) if row.pair == pair])
        ]
