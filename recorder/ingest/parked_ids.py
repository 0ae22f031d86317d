"""Parked ids: ids far from all others are parked when committed, and released once they are plausible.

The lines themselves record what is parked, so that every reader of the journal counts the same: a frame with parked ids
is journalled under a source that names them. Once these are plausible, it is journalled again like any frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from recorder.archive import quarantine
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Reason
from recorder.core import evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Parked
from recorder.core.ledger import Ledger
from recorder.core.plausibility import Arrivals, is_far
from recorder.core.trade_ids import Run, Spans, runs_of
from recorder.disk import undisturbed
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.records import ParkedTrades
from recorder.runtime.inbox import Inbound

_NOTHING: Final = (0, 0)
"""Newest id and its time for a pair without any knowledge."""
_PARKED: Final = b',"source":"ws:parked:'
_HEAD: Final = 64
"""Bytes of a line within which its source begins; enough to recognize parked frames of a batch without parsing."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Release:
    """The parked ids ``spans`` of ``pair`` are accepted, now that ``last_id`` is."""

    pair: str
    spans: Spans
    last_id: int


Step: TypeAlias = Inbound | Release
"""Something to write, in order. A release precedes the line that caused it, so that its rows come first: they have a
receive time."""


class ParkedIds:
    """Decides, line by line in the order of writing, which ids count.

    ``waiting`` returns the journalled or quarantined frames with parked ids of a pair; it may block.
    """

    def __init__(self, ledger: Ledger, waiting: Callable[[str], Iterable[Entry]]) -> None:
        self._ledger = ledger
        self._waiting = waiting
        self._arrivals: dict[str, Arrivals] = {}

    def concerns(self, runs: Iterable[Run]) -> bool:
        """Return whether any of these may be parked or may release parked ids; nearly always False, and fast."""
        for run in runs:
            account = self._ledger.of(run.pair)
            if account.parked or is_far(run.span.first, (account.newest() or _NOTHING)[0]):
                return True
        return False

    def sort(self, batch: Sequence[Inbound], now_ns: int) -> list[Step]:
        """Decide which lines of a batch count. Others are journalled under another source, with a note before them."""
        steps = list[Step]()
        arrivals = self._arrivals
        for pair in {run.pair for inbound in batch for run in inbound.claims}:
            account = self._ledger.of(pair)
            if pair not in arrivals:
                arrivals[pair] = Arrivals(account.parked)
            arrivals[pair].shown(*(account.newest() or _NOTHING))
        for inbound in batch:
            counts, far = self._judged(inbound)
            for pair in dict.fromkeys(run.pair for run in inbound.claims):
                spans = arrivals[pair].released()
                if spans:
                    steps.append(Release(pair, spans, arrivals[pair].last_id))
            steps += (_note(run, arrivals[run.pair].last_id, now_ns) for run in far)
            steps.append(_parked(inbound, counts, far) if far else inbound)
        self._arrivals = {pair: known for pair, known in arrivals.items() if known.parked}
        return steps

    def resolved(self, steps: Iterable[Step], now_ns: int) -> list[Inbound]:
        """Return the lines to write, with released lines in their places. Blocks. Raises StorageError."""
        lines: list[Inbound] = []
        for step in steps:
            if isinstance(step, Inbound):
                lines.append(step)
                continue
            here = [segment.decode(one.line[:-1]) for one in lines if _PARKED in one.line[:_HEAD]]
            lines += _released(step, [*self._waiting(step.pair), *here])
            for span in step.spans:
                log.info("parked ids released", pair=step.pair, first_id=span.first, last_id=span.last)
                detail = {"first_id": span.first, "last_id": span.last, "up_to_id": step.last_id}
                line = segment.encode_note(now_ns, EventKind.RELEASED_IDS, pair=step.pair, **detail)
                lines.append(Inbound(line, [], source="note"))
        return lines

    def done(self, steps: Iterable[Step]) -> None:
        """Count released ids as no longer parked. Ids whose frame was not found are unknown from then on."""
        for step in steps:
            if isinstance(step, Release):
                for span in step.spans:
                    self._ledger.of(step.pair).parked.remove(span)

    def _judged(self, inbound: Inbound) -> tuple[list[Run], list[Run]]:
        """Return the runs that count, and those that are parked."""
        counts, far = list[Run](), list[Run]()
        received_us = (segment.received_ns(inbound.line) or 0) // 1000
        for run in sorted(inbound.claims):
            arrivals = self._arrivals[run.pair]
            if inbound.source != "ws":
                arrivals.shown(run.span.last, run.last_us)
                counts.append(run)
            elif arrivals.streamed(run, received_us):
                counts.append(run)
            else:
                far.append(run)
        # Later runs of the frame may have made these plausible.
        near = [run for run in far if not is_far(run.span.first, self._arrivals[run.pair].last_id)]
        return counts + near, [run for run in far if run not in near]


def waiting(layout: Layout, pair: str) -> list[Entry]:
    """Return the frames with parked ids of ``pair``, from the journal and the quarantine, where drains move them."""

    def look() -> list[Entry]:
        return [
            entry
            for path in segment.segments(layout.journal)
            for entry in segment.entries(path)
            if not isinstance(entry, CorruptLine) and isinstance(records.read(entry), ParkedTrades)
        ]

    found = undisturbed(look, f"the segments in {layout.journal}")
    for kept in quarantine.listed(layout):
        if kept.reason == Reason.PARKED and kept.pair == pair:
            with contextlib.suppress(CorruptLine):  # the line was edited, and stays for people to inspect
                found.append(segment.decode(kept.line))
    return found


def _note(run: Run, after_id: int, now_ns: int) -> Inbound:
    log.warning("far ids parked", pair=run.pair, first_id=run.span.first, last_id=run.span.last, after_id=after_id)
    known = Parked(run.pair, run.span)
    detail = {**evidence.detail(known), "after_id": after_id}
    return Inbound(segment.encode_note(now_ns, evidence.kind(known), pair=run.pair, **detail), [], known, "note")


def _parked(inbound: Inbound, counts: list[Run], far: Iterable[Run]) -> Inbound:
    """Return a frame as it is journalled when runs of it are parked: all ids of a pair from its lowest such run on."""
    entry = segment.decode(inbound.line[:-1])
    since: dict[str, int] = {}
    for run in far:
        since[run.pair] = min(run.span.first, since.get(run.pair, run.span.first))
    connection = int(entry.source.rpartition(":")[2])
    line = segment.encode(entry.recv_ns, records.parked_source(connection, since), entry.payload, parsed=True)
    return Inbound(line, counts)


def _released(release: Release, candidates: Iterable[Entry]) -> list[Inbound]:
    """Return the frames to journal again; a frame that still contains far ids keeps these parked."""
    found: dict[tuple[int, bytes], Inbound] = {}
    for entry in candidates:
        record = records.read(entry)
        if isinstance(record, ParkedTrades) and (entry.recv_ns, entry.payload) not in found:
            with contextlib.suppress(Malformed):  # written by another release; the drain reported it
                again = _again(release, record)
                if again is not None:
                    found[entry.recv_ns, entry.payload] = again
    return list(found.values())


def _again(release: Release, record: ParkedTrades) -> Inbound | None:
    rows = [row for row in record.parked() if row.pair == release.pair]
    near = [row for row in rows if any(row.trade_id in span for span in release.spans)]
    if not near:
        return None
    still = {pair: first for pair, first in record.parked_from().items() if pair != release.pair}
    left = [row.trade_id for row in rows if is_far(row.trade_id, release.last_id)]
    if left:
        still[release.pair] = min(left)
    line = record.line
    journalled = segment.encode(line.recv_ns, record.released_source(still), line.payload, parsed=True)
    return Inbound(journalled, runs_of(near))
