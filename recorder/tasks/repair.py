"""Fetch what is missing, by the plan: a batch of one piece of work, then whatever is most urgent by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from recorder.archive.events import iso
from recorder.core.backoff import grown_s
from recorder.core.events import EventKind
from recorder.core.evidence import Void
from recorder.core.ids import Gap, Spans
from recorder.core.ledger import History, Ledger
from recorder.core.model import Instrument
from recorder.core.plan import Work, is_history, plan
from recorder.core.voids import Evidence
from recorder.errors import Retry
from recorder.tasks.context import Context
from recorder.tasks.fetch import Fetcher
from recorder.tasks.waiting import first_of

FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 300.0
"""What could not be fetched is tried again after 5 s, 10 s, … 5 min. It is never given up."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Failed:
    """Attempts in a row that brought nothing, how many of them were answered, and when the next is due (monotonic)."""

    attempts: int = 0
    answered: int = 0
    due_s: float = 0.0


class Repair:
    """Watches the ledger for holes of ``instruments`` (by pair) and closes them, then fetches wanted history.

    ``history_from_us`` is since when trades are wanted (µs since 1970 UTC; 0: all), None where only what lies between
    held ones is. Of a pair that had a name before it is also what came after the last trade under that:
    ``earlier_names`` tells them. The mapping is live: holes of a pair that leaves it stay open. A hole is noted when it
    is first seen, and again when nothing of it is missing any more, whoever filled it; that it has shrunk is not noted.
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
    ) -> None:
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
        self._evidence = Evidence()
        self._failed: dict[tuple[str, int], _Failed] = {}
        # As they were when they opened. Two never touch, since ids between them were held, so they stay apart here.
        self._noted: dict[str, Spans] = {}

    def hole_seen(self) -> None:
        """Look at the ledger soon."""
        self._wake.set()

    def want_history(self, from_us: int | None) -> None:
        """Want history since then, from now on, as the constructor's ``history_from_us``."""
        self._history_from_us = from_us
        self._wake.set()

    def hold_history(self, *, waits: bool) -> None:
        """Leave history, and holes as long as history, until told otherwise: the disk is low. The rest goes on."""
        self._history_waits = waits
        self._wake.set()

    def follow(self, added: Iterable[Instrument], removed: Iterable[str]) -> None:  # noqa: ARG002 -- see the class
        """Look at the holes of pairs that were ``added``; those of pairs that were ``removed`` are left alone."""
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
        """Fetch a batch of the first work that is due; return seconds until the next is."""
        await self._take_note()
        works = plan(self._gaps(), self._histories())
        if self._history_waits:
            works = [work for work in works if not is_history(work)]
        keys = {_key(work) for work in works}
        self._failed = {key: failed for key, failed in self._failed.items() if key in keys}
        for work in works:
            failed = self._failed.get(_key(work))
            if failed is None or failed.due_s <= self._clock.monotonic():
                await self._fetch(work, failed or _Failed())
                return 0.0
        waits = [failed.due_s - self._clock.monotonic() for failed in self._failed.values()]
        return max(0.0, min(waits, default=LAST_RETRY_S))

    def _gaps(self) -> list[Gap]:
        return [gap for pair in self._instruments for gap in self._ledger.of(pair).gaps()]

    def _histories(self) -> list[History]:
        wanted = {pair: self._history_from(pair) for pair in self._instruments}
        histories = [self._ledger.history(pair, from_us) for pair, from_us in wanted.items() if from_us is not None]
        return [history for history in histories if history is not None]

    def _history_from(self, pair: str) -> int | None:
        """Return since when trades of ``pair`` are wanted: as configured, and where an earlier name of it ended.

        Of one that had never traded before it was promised, since ever: so it is learnt which ids its first trade left
        out.
        """
        promise = self._ledger.of(pair).promise
        if promise is not None and promise.after_id == 0 and not promise.assumed:
            return 0
        held = set(self._ledger)
        ended_us = [self._ledger.of(name).last_us for name in self._earlier_names(pair) if name in held]
        renamed_us = max((end_us for end_us in ended_us if end_us is not None), default=None)
        moments = (self._history_from_us, renamed_us)
        return min((moment for moment in moments if moment is not None), default=None)

    async def _fetch(self, work: Work, failed: _Failed) -> None:
        fetched = await self._fetcher.fetch(work, attempt=failed.answered)
        if fetched.rows and fetched.problem is None:
            self._failed.pop(_key(work), None)
            log.debug("fetched", pair=work.pair, rows=fetched.rows)
            return
        now_s = self._clock.monotonic()
        due_s = now_s + grown_s(failed.attempts + 1, first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S)
        for span in fetched.skipped:
            for proven, apart_s in self._evidence.skipped(work.pair, span, now_s):
                log.warning("ids do not exist", pair=work.pair, first_id=proven.first, last_id=proven.last)
                await self._notes.know(Void(work.pair, proven), answers=2, apart_s=round(apart_s, 1))
            # Asking before a second answer could prove anything would only cost requests.
            due_s = now_s + max(FIRST_RETRY_S, self._evidence.due_s(work.pair, span, now_s) or 0.0)
        answered = failed.answered + (fetched.problem is None)
        self._failed[_key(work)] = _Failed(failed.attempts + 1, answered, due_s)
        reason = str(fetched.problem) if fetched.problem else "the exchange did not serve these ids"
        level = log.error if fetched.problem and fetched.problem.retry is Retry.NEVER else log.warning
        level("not fetched", pair=work.pair, what=str(work), reason=reason, retry_in_s=round(due_s - now_s))

    async def _take_note(self) -> None:
        """Note the holes that have opened and closed since the last look."""
        for hole in self._gaps():
            noted = self._noted.setdefault(hole.pair, Spans())
            if not noted.covers(hole.span):
                noted.add(hole.span)
                log.info("hole", pair=hole.pair, first_id=hole.span.first, last_id=hole.span.last)
                await self._notes.take(
                    EventKind.HOLE_OPENED,
                    pair=hole.pair,
                    first_id=hole.span.first,
                    last_id=hole.span.last,
                    missing=len(hole.span),
                    after=iso(hole.after_us or 0),
                    before=iso(hole.before_us or 0),
                )
        for pair, noted in self._noted.items():
            missing = Spans(gap.span for gap in self._ledger.of(pair).gaps())
            for span in [span for span in noted if not missing.within(span)]:
                noted.remove(span)
                self._metrics.holes_closed.inc()
                log.info("hole closed", pair=pair, first_id=span.first, last_id=span.last)
                await self._notes.take(
                    EventKind.HOLE_CLOSED, pair=pair, first_id=span.first, last_id=span.last, missing=len(span)
                )


def _key(work: Work) -> tuple[str, int]:
    """Name work for its attempts: a hole by its first id; below the lowest id held there is only one."""
    return work.pair, work.span.first if isinstance(work, Gap) else 0
