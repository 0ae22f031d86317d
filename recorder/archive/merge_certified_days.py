"""Taking over another archive's certificates for days whose rows were all brought by a merge.

A day of which any row was stored before, or came by other means, is not taken over: the other archive's certificate
does not apply to it, and the daemon certifies it itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from recorder.archive import disown, stored_evidence
from recorder.archive.day_contents import held_days
from recorder.archive.layout import Layout
from recorder.archive.stored_evidence import DatedClaims
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.certificate import DayRows
from recorder.core.evidence import Certified
from recorder.core.trade_ids import Span, Spans
from recorder.disk import undisturbed

_EPOCH: Final = date(1970, 1, 1)


class MergedMemory:
    """Takes over the certificates of the archive ``theirs``, pair by pair, once the rows are here."""

    def __init__(self, archive: TradeArchive, theirs: Layout) -> None:
        self._archive = archive
        self._ours = stored_evidence.certified(archive.layout)
        self._theirs = stored_evidence.certified(theirs)
        self._their_claims = DatedClaims(theirs)

    def take(self, pair: str, brought: Spans, *, now_us: int) -> int:
        """Take over the certified days of ``pair`` whose rows were all ``brought``; return how many. Durable on return.

        ``now_us`` is µs since 1970 UTC. Raises UnsoundFile, UnreadableFile, StorageError, DiskError.
        """
        remembered = {one.day for one in self._ours.of(pair)}
        days = [
            one for one in self._certified(pair) if one.day not in remembered and self._was_brought(pair, one, brought)
        ]
        same = self._same(pair, days)
        if same:
            disown.note(self._archive, same, now_us=now_us)
        return len(same)

    def _certified(self, pair: str) -> Iterable[Certified]:
        """Return the other archive's valid certificates: the latest of each day."""
        begun_us = evidence.begun_us(self._their_claims.claims(pair))
        certificates = sorted(self._theirs.of(pair, after_us=begun_us), key=lambda one: (one.day, one.revision))
        return {one.day: one for one in certificates}.values()

    def _was_brought(self, pair: str, one: Certified, brought: Spans) -> bool:
        span = Span(one.first_id, one.last_id)
        held = Spans(undisturbed(lambda: self._archive.coverage.spans(pair), f"the files of {pair}").within(span))
        return held.count() >= one.rows and all(brought.covers(part) for part in held)

    def _held(self, pair: str, days: Span) -> Mapping[date, DayRows]:
        return held_days(self._archive.coverage.files(pair), days)

    def _same(self, pair: str, days: Iterable[Certified]) -> list[Certified]:
        """Return the days whose rows here equal the other archive's certificate."""
        by_number = {(one.day - _EPOCH).days: one for one in days}
        same: list[Certified] = []
        for stretch in Spans(Span(number, number) for number in by_number):
            held = undisturbed(functools.partial(self._held, pair, stretch), f"the files of {pair}")
            for one in (by_number[number] for number in range(stretch.first, stretch.last + 1)):
                rows = held.get(one.day)
                certified = (one.rows, one.first_id, one.last_id, one.sha256)
                if rows is not None and (rows.rows, rows.first_id, rows.last_id, rows.sha256) == certified:
                    same.append(one)
        return same
