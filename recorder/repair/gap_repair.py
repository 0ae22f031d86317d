"""Repair of gaps: fetches missing trades by the plan, one batch at a time, then whatever is most urgent by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from recorder.archive.event_rows import iso
from recorder.archive.file_faults import FAULTS
from recorder.core.backoff import next_delay_s
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Unreadable, Void
from recorder.core.gap_events import GapEvent, GapEvents
from recorder.core.ledger import History, Ledger
from recorder.core.model import Instrument
from recorder.core.repair_planning import Work, is_history, plan
from recorder.core.trade_ids import Gap, Span
from recorder.core.void_evidence import VoidEvidence
from recorder.errors import Retry
from recorder.kraken.odd_rows import OddRow
from recorder.repair.fetch_trades import Fetched, Fetcher
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 300.0
"""Failed fetches are retried after 5 s, 10 s, … 5 min, without end."""
UNREADABLE_S: Final = 86_400.0
"""The id of an unreadable row is requested again at the start of each run, whose release may be able to read it, and
then once a day, since the exchange may correct it."""
ROW_BYTES: Final = 4_096
"""Bytes of an unreadable row that an event contains; the whole row is in the quarantine."""
_BELOW: Final = 0
"""Stands for the first of the ids below the lowest stored one."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Failed:
    """Number of consecutive attempts without result, and when the next is due (monotonic seconds)."""

    attempts: int = 0
    due_s: float = 0.0


class Repair:
    """Watches the ledger for holes of ``instruments`` (by pair) and closes them, then fetches wanted history.

    ``history_from_us`` is the time from which trades are wanted (µs since 1970 UTC; 0: all), None if only trades
    between stored ones are. For a renamed pair, trades since the last one under its earlier name are wanted too:
    ``earlier_names`` returns these names. ``damaged`` receives the error if a pair's files cannot be trusted, and
    raises it if no pair is the cause. The mapping is live: holes of a removed pair stay open. A hole is noted when it
    is first seen and when it is completely filled, by whatever source; a hole that shrinks is not noted.
    """

    def __init__(
        self,
        ledger: Ledger,
        fetcher: Fetcher,
        context: Context,
        *,
        instruments: Mapping[str, Instrument],
        history_from_us: int | None,
        earlier_names: Callable[[str], Sequence[str]],
        damaged: Callable[[str, Exception], None] | None = None,
    ) -> None:
        self._damaged = damaged
        self._ledger = ledger
        self._fetcher = fetcher
        self._notes = context.notes
        self._clock = context.clock
        self._metrics = context.metrics
        self._instruments = instruments
        self._history_from_us = history_from_us
        self._earlier_names = earlier_names
        self._wake = asyncio.Event()
        self._history_waits = False
        self._evidence = VoidEvidence()
        self._unreadable = VoidEvidence()
        self._gap_notes = GapEvents()
        # By pair that the exchange refused.
        self._refused: dict[str, _Failed] = {}
        # By pair and first id of a gap that was requested and not served; 0 stands for all ids below the lowest stored
        # one.
        self._unserved: dict[tuple[str, int], _Failed] = {}

    def hole_seen(self) -> None:
        """Check the ledger soon."""
        self._wake.set()

    def plan_anew(self, pair: str) -> None:
        """Check the ledger soon, and end the current batch of ``pair``: some of its ids were taken back."""
        self._fetcher.plan_anew(pair)
        self._wake.set()

    def want_history(self, from_us: int | None) -> None:
        """Change the time from which history is wanted, as the constructor's ``history_from_us``."""
        self._history_from_us = from_us
        self._wake.set()

    def hold_history(self, *, waits: bool) -> None:
        """Pause or resume history, and holes as large as history, when the disk is low. Other repairs continue."""
        self._history_waits = waits
        self._wake.set()

    def follow(self, added: Iterable[Instrument], removed: Iterable[str]) -> None:  # noqa: ARG002 -- see the class
        """Check the holes of pairs ``added``; those of pairs ``removed`` are left alone."""
        if any(True for _ in added):
            self._wake.set()

    async def run(self) -> None:
        """Fill holes until cancelled."""
        while True:
            self._wake.clear()
            due_s = await self._turn()
            if due_s > 0:
                await first_of(self._clock.sleep(due_s), self._wake.wait())

    async def _turn(self) -> float:
        """Fetch a batch of the first work that is due; return the seconds until the next is."""
        await self._take_note()
        self._forget_closed()
        now_s = self._clock.monotonic()
        pairs = [pair for pair in self._instruments if self._refused.get(pair, _Failed()).due_s <= now_s]
        works = plan((self._due_gaps(pair, now_s) for pair in pairs), self._due_histories(pairs, now_s))
        work = next((work for work in works if not (self._history_waits and is_history(work))), None)
        if work is not None:
            await self._fetch(work)
            return 0.0
        # Work that is due but not selected is history, which is paused.
        dues_s = [failed.due_s for failed in (*self._refused.values(), *self._unserved.values())]
        return min((due_s - now_s for due_s in dues_s if due_s > now_s), default=LAST_RETRY_S)

    def _due_gaps(self, pair: str, now_s: float) -> Sequence[Gap]:
        account = self._ledger.of(pair)
        gaps: Sequence[Gap] = account.fetchable_gaps()
        if account.unreadable:
            gaps = sorted([*gaps, *account.unreadable_gaps()], key=lambda gap: gap.span)
        if not self._unserved:
            return gaps
        return [gap for gap in gaps if self._is_due(pair, gap.span.first, now_s)]

    def _due_histories(self, pairs: Iterable[str], now_s: float) -> list[History]:
        wanted = {pair: self._history_from(pair) for pair in pairs if self._is_due(pair, _BELOW, now_s)}
        histories = [self._ledger.history(pair, from_us) for pair, from_us in wanted.items() if from_us is not None]
        return [history for history in histories if history is not None]

    def _history_from(self, pair: str) -> int | None:
        """Return the time from which trades of ``pair`` are wanted: as configured, and since an earlier name ended.

        0, for all, if the pair had never traded before it was promised: this shows which ids were skipped before its
        first trade.
        """
        promise = self._ledger.of(pair).promise
        if promise is not None and promise.after_id == 0 and not promise.assumed:
            return 0
        held = set(self._ledger)
        ended_us = [self._ledger.of(name).last_us for name in self._earlier_names(pair) if name in held]
        renamed_us = max((end_us for end_us in ended_us if end_us is not None), default=None)
        moments = (self._history_from_us, renamed_us)
        return min((moment for moment in moments if moment is not None), default=None)

    def _is_due(self, pair: str, first_id: int, now_s: float) -> bool:
        failed = self._unserved.get((pair, first_id))
        return failed is None or failed.due_s <= now_s

    def _forget_closed(self) -> None:
        """Forget the attempts at closed gaps, and those of pairs no longer recorded."""
        self._refused = {pair: failed for pair, failed in self._refused.items() if pair in self._instruments}
        there = {(pair, _BELOW) for pair in self._instruments}
        for pair in {pair for pair, _ in self._unserved if pair in self._instruments}:
            account = self._ledger.of(pair)
            there.update((pair, gap.span.first) for gap in (*account.gaps(), *account.unreadable_gaps()))
        self._unserved = {key: failed for key, failed in self._unserved.items() if key in there}

    async def _fetch(self, work: Work) -> None:
        pair = work.pair
        attempts = {first: failed.attempts for (of, first), failed in self._unserved.items() if of == pair}
        try:
            fetched = await self._fetcher.fetch(work, attempts=attempts)
        except FAULTS as error:
            if self._damaged is None:
                raise
            self._damaged(pair, error)  # the fetched rows can be requested again
            return
        log.debug("fetched", pair=pair, rows=fetched.rows)
        for report in fetched.odd_times:
            await self._notes.event(EventKind.MALFORMED, pair=pair, source=report.source, reason=report.reason)
        now_s = self._clock.monotonic()
        for proven, apart_s in self._evidence.skipped(pair, fetched.skipped, now_s):
            log.warning("ids do not exist", pair=pair, first_id=proven.first, last_id=proven.last)
            await self._notes.evidence(Void(pair, proven), answers=2, apart_s=round(apart_s, 1))
        await self._know_unreadable(pair, fetched.odd, now_s)
        if fetched.problem is not None:
            failed = self._refused[pair] = _later(self._refused.get(pair), now_s)
            level = log.error if fetched.problem.retry is Retry.NEVER else log.warning
            reason, retry_in_s = str(fetched.problem), round(failed.due_s - now_s)
            level("not fetched", pair=pair, what=str(work), reason=reason, retry_in_s=retry_in_s)
        else:
            self._refused.pop(pair, None)
        self._postpone(work, fetched, now_s)

    async def _know_unreadable(self, pair: str, odd: Sequence[OddRow], now_s: float) -> None:
        """Note the ids for which two answers, some minutes apart, had rows that cannot be read."""
        known = self._ledger.of(pair).unreadable.copy()
        rows = {row.span: row for row in odd if row.span is not None}
        for proven, apart_s in self._unreadable.skipped(pair, rows, now_s):
            row = next(row for span, row in rows.items() if proven.first in span)
            for part in known.missing(proven):
                log.error("ids cannot be read", pair=pair, first_id=part.first, last_id=part.last, reason=row.reason)
                detail = {"reason": row.reason, "row": row.raw[:ROW_BYTES].decode(errors="replace")}
                await self._notes.evidence(Unreadable(pair, part), answers=2, apart_s=round(apart_s, 1), **detail)

    def _postpone(self, work: Work, fetched: Fetched, now_s: float) -> None:
        """Delay what was not served: with growing waits, or until another answer can prove that it does not exist."""
        unserved = {span.first: span for span in fetched.given_up}
        if isinstance(work, History) and not fetched.rows and fetched.problem is None:
            unserved = {_BELOW: Span(1, work.before_id - 1)}
        for first_id, span in unserved.items():
            failed = _later(self._unserved.get((work.pair, first_id)), now_s)
            proofs_s = [proof.due_s(work.pair, span, now_s) for proof in (self._evidence, self._unreadable)]
            proof_s = min((due_s for due_s in proofs_s if due_s is not None), default=None)
            if self._ledger.of(work.pair).unreadable.covers(span):
                failed = replace(failed, due_s=now_s + UNREADABLE_S)
            elif proof_s:  # earlier requests would be useless; if it proves nothing, the wait grows as usual
                failed = replace(failed, due_s=now_s + max(FIRST_RETRY_S, proof_s))
            self._unserved[work.pair, first_id] = failed
        if unserved:
            retry_s = min(self._unserved[work.pair, first_id].due_s for first_id in unserved) - now_s
            reason = f"the exchange did not serve {sum(len(span) for span in unserved.values()):,} ids"
            log.warning("not fetched", pair=work.pair, what=str(work), reason=reason, retry_in_s=round(retry_s))

    async def _take_note(self) -> None:
        """Note the holes that opened and closed since the last check."""
        for pair in list(self._instruments):
            opened, closed = self._gap_notes.changes(pair, self._ledger.of(pair).gaps())
            for note in opened:
                log.info("hole", pair=pair, **_fields(note))
                times = {"after": iso(note.after_us or 0), "before": iso(note.before_us or 0)}
                await self._notes.event(EventKind.HOLE_OPENED, pair=pair, **_fields(note), **times)
            for note in closed:
                self._metrics.holes_closed.inc(note.holes)
                log.info("hole closed", pair=pair, **_fields(note))
                await self._notes.event(EventKind.HOLE_CLOSED, pair=pair, **_fields(note))


def _fields(note: GapEvent) -> dict[str, int]:
    fields = {"first_id": note.span.first, "last_id": note.span.last, "missing": note.missing}
    return fields if note.holes == 1 else {**fields, "holes": note.holes}


def _later(failed: _Failed | None, now_s: float) -> _Failed:
    """Return the state after one more attempt without result."""
    attempts = 0 if failed is None else failed.attempts
    return _Failed(attempts + 1, now_s + next_delay_s(attempts + 1, first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S))
