"""Notes of the recorder about itself and the exchange: journalled like frames, archived as events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.clock import Clock
from recorder.core import evidence
from recorder.core.event_kinds import ROUTINE, EventKind
from recorder.core.evidence import Knowledge
from recorder.core.model import Trade
from recorder.core.report_once import ReportOnce
from recorder.errors import Malformed
from recorder.journal import segment
from recorder.kraken import odd_trades, records, rest_api, trade_pages
from recorder.kraken.odd_rows import OddRow
from recorder.runtime.inbox import Inbound, Inbox

KEPT_BYTES: Final = 1024 * 1024
"""Limit in bytes of an unreadable answer that is journalled. The largest real answer, the whole listing, is 0.8 MB;
anything longer is something else, and would be stored again at every retry."""
RECENT: Final = 50
"""Events that are remembered for whoever looks."""
KEPT_ASIDE: Final = 100
"""Limit of unreadable answers that one process stores in separate files: 100 MB at most. An exchange that has changed
its answers sends the same one at every retry, and these files never expire."""

log = structlog.get_logger()


class RecentEvent(NamedTuple):
    """An event of this run; ``time_us`` is when it was noted (µs since 1970 UTC)."""

    time_us: int
    kind: EventKind
    pair: str | None
    detail: Mapping[str, object]


class Notes:
    """Writes notes to the inbox."""

    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self._inbox = inbox
        self._clock = clock
        self.report_once = ReportOnce()
        """What is reported once per run, by whichever task meets it first."""
        self.recent: deque[RecentEvent] = deque(maxlen=RECENT)
        """The newest events of this run, oldest first, without routine ones."""

    async def event(self, kind: EventKind, *, pair: str | None = None, **detail: object) -> None:
        """Note an event of ``kind``, of one pair or of none. ``detail`` must be serializable as JSON."""
        named = {} if pair is None else {"pair": pair}
        now_ns = self._clock.wall_ns()
        if kind not in ROUTINE:
            self.recent.append(RecentEvent(now_ns // 1000, kind, pair, detail))
        line = segment.encode_note(now_ns, kind, **named, **detail)
        await self._inbox.put(Inbound(line, [], source="note"))

    async def evidence(self, known: Knowledge, **beside: object) -> None:
        """Note knowledge of ids that is not in the rows, with its evidence; it counts once the note is durable."""
        await self._inbox.put(Inbound(self._line(known, beside), [], known, "note"))

    async def durable_evidence(self, known: Sequence[Knowledge]) -> None:
        """Note knowledge of ids, in this order, and return once all of it is durable and counts."""
        counts: list[asyncio.Future[None]] = []
        for one in known:
            counts.append(asyncio.get_running_loop().create_future())
            await self._inbox.put(Inbound(self._line(one, {}), [], one, "note", counts[-1]))
        await asyncio.gather(*counts)

    def _line(self, known: Knowledge, beside: Mapping[str, object]) -> bytes:
        detail = {"pair": known.pair, **evidence.detail(known), **beside}
        return segment.encode_note(self._clock.wall_ns(), evidence.kind(known), **detail)

    async def unreadable(self, request: rest_api.Request, error: Malformed, *, pair: str | None = None) -> None:
        """Store an answer verbatim, as far as ``error`` carries it, and note that it could not be read."""
        kept, note = _unreadable(self._clock.wall_ns(), request, error, pair)
        if kept:
            await self._inbox.put(Inbound(kept, [], source="rest"))
        await self._inbox.put(Inbound(note, [], source="note"))

    async def odd(self, request: rest_api.Request, recv_ns: int, pair: str, rows: Sequence[OddRow]) -> None:
        """Store rows of an answer that could not be read when others could; the drain quarantines and reports them."""
        new = [row for row in rows if self.report_once.is_first("came", pair, row.raw)]
        if new:
            log.error("rows stored but not understood", pair=pair, rows=len(new), reason=new[0].reason)
            await self._inbox.put(Inbound(_odd_line(request, recv_ns, pair, new), [], source="rest"))

    async def stored(self, request: rest_api.Request, trades: Sequence[Trade]) -> None:
        """Report unusual trades that are stored as received."""
        for pair, reason in odd_trades.stored(trades, self.report_once):
            log.warning("unusual trade", pair=pair, reason=reason)
            source = records.rest_source(request, pair)
            await self.event(EventKind.MALFORMED, pair=pair, source=source, reason=reason)


class QuarantineNotes:
    """Stores unreadable answers in the quarantine, for processes that do not own the journal."""

    def __init__(self, quarantine: Quarantine, clock: Clock) -> None:
        self._quarantine = quarantine
        self._clock = clock
        self._kept = 0
        self._report_once = ReportOnce()

    async def unreadable(self, request: rest_api.Request, error: Malformed, *, pair: str | None = None) -> None:
        """Store an answer verbatim, with the reason, up to KEPT_ASIDE of them. Raises DiskError."""
        reason = str(error)[: rest_api.QUOTE_LIMIT]
        if self._kept >= KEPT_ASIDE:
            log.error("answer not understood and, like earlier ones, not stored", pair=pair, reason=reason)
            return
        self._kept += 1
        now_ns = self._clock.wall_ns()
        answer, note = _unreadable(now_ns, request, error, pair)
        kept = QuarantinedRow(now_ns, Reason.MALFORMED, (answer or note).rstrip(b"\n"), pair, why=reason)
        path = await asyncio.to_thread(self._quarantine.add, [kept])
        log.error("answer stored but not understood", pair=pair, file=str(path), reason=reason)

    async def odd(self, request: rest_api.Request, recv_ns: int, pair: str, rows: Sequence[OddRow]) -> None:
        """Store rows of an answer that could not be read when others could. Raises DiskError."""
        new = [row for row in rows if self._report_once.is_first(pair, row.raw)]
        if not new or self._kept >= KEPT_ASIDE:
            return
        self._kept += 1
        line = _odd_line(request, recv_ns, pair, new).rstrip(b"\n")
        spans = tuple(row.span for row in new if row.span is not None)
        kept = QuarantinedRow(recv_ns, Reason.ODD, line, pair, spans, new[0].reason)
        path = await asyncio.to_thread(self._quarantine.add, [kept])
        log.error("rows stored but not understood", pair=pair, rows=len(new), file=str(path), reason=new[0].reason)

    async def stored(self, request: rest_api.Request, trades: Sequence[Trade]) -> None:  # noqa: ARG002 -- it has no journal
        """Report unusual trades that are stored as received."""
        for pair, reason in odd_trades.stored(trades, self._report_once):
            log.warning("unusual trade", pair=pair, reason=reason)


def _odd_line(request: rest_api.Request, recv_ns: int, pair: str, rows: Sequence[OddRow]) -> bytes:
    return segment.encode(recv_ns, records.odd_source(request, pair), trade_pages.encode_odd_rows(rows))


def _unreadable(now_ns: int, request: rest_api.Request, error: Malformed, pair: str | None) -> tuple[bytes, bytes]:
    """Return the journal lines of an unreadable answer: the body, as far as it is known, and a note."""
    source = records.unreadable_source(request, pair)
    named = {} if pair is None else {"pair": pair}
    reason = str(error)[: rest_api.QUOTE_LIMIT]
    kept = b"" if error.body is None else segment.encode(now_ns, source, error.body[:KEPT_BYTES])
    return kept, segment.encode_note(now_ns, EventKind.MALFORMED, **named, source=source, reason=reason)
