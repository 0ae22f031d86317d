"""Taking over what another archive knows about ids, once the trades are here: certified days, void ids, and joints.

A certificate is taken over if the rows here have the digest that it certifies, whichever archives and merges they came
from. A day that differs is left to a recorder of this archive.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from recorder.archive import disown, stored_evidence
from recorder.archive.day_contents import held_days
from recorder.archive.layout import Layout
from recorder.archive.merged_files import MergedFiles
from recorder.archive.stored_evidence import DatedClaims
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.certificate import DayRows
from recorder.core.evidence import Certified, Joined, Void
from recorder.core.trade_ids import Span, Spans
from recorder.disk import undisturbed

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """How many certified days of a pair were taken over, how many void ids, and whether its history was joined."""

    days: int
    void: int
    joined: bool


class MergedEvidence:
    """Takes over evidence of the archive ``theirs``, pair by pair; ``files`` remembers which days differ."""

    def __init__(self, archive: TradeArchive, theirs: Layout, files: MergedFiles) -> None:
        self._archive = archive
        self._files = files
        self._certified_here = stored_evidence.certified(archive.layout)
        self._certified_there = stored_evidence.certified(theirs)
        self._void_here = stored_evidence.read(archive.layout).void
        self._void_there = stored_evidence.read(theirs).void
        self._their_claims = DatedClaims(theirs)

    def take(self, pair: str, *, now_us: int) -> TakenOver:
        """Take over what is known of ``pair`` and was not known here. Durable on return.

        ``now_us`` is µs since 1970 UTC. Raises UnsoundFile, UnreadableFile, StorageError, DiskError.
        """
        held = self._held(pair)
        void = self._void(pair, held)
        same = self._same(pair, self._all_here(pair, held))
        joined = self._joined(pair, held, now_us=now_us)
        disown.note(self._archive, [*void, *same, *joined], now_us=now_us)
        return TakenOver(len(same), sum(len(one.span) for one in void), bool(joined))

    def _void(self, pair: str, held: Spans) -> list[Void]:
        """Return the void ids there that are neither stored nor void here."""
        known = Spans([*held, *self._void_here.get(pair, ())])
        return [Void(pair, span) for void in self._void_there.get(pair, ()) for span in known.missing(void)]

    def _joined(self, pair: str, held: Spans, *, now_us: int) -> list[Joined]:
        """Return from where on the owner there wants ids (``--join``), if that is lower than here, and stored here."""
        after_id = evidence.joined_after(self._their_claims.claims(pair))
        claims = self._archive.claimed.claims(pair)
        known = evidence.joined_after(claims)
        if after_id is None or (known is not None and known <= after_id):
            return []
        if not held.covers(Span(after_id + 1, after_id + 1)):
            return []
        return [Joined(pair, after_id, evidence.after_us(claims, now_us))]

    def _all_here(self, pair: str, held: Spans) -> list[Certified]:
        """Return the certificates there of days that have none here, and as many rows as they certify."""
        certified = {one.day for one in self._certified_here.of(pair)}
        return [
            one
            for one in self._latest(pair)
            if one.day not in certified
            and not self._files.differs(one)
            and Spans(held.within(Span(one.first_id, one.last_id))).count() >= one.rows
        ]

    def _latest(self, pair: str) -> Iterable[Certified]:
        """Return the other archive's valid certificates: the latest of each day."""
        begun_us = evidence.begun_us(self._their_claims.claims(pair))
        certificates = sorted(
            self._certified_there.of(pair, after_us=begun_us), key=lambda one: (one.day, one.revision)
        )
        return {one.day: one for one in certificates}.values()

    def _held(self, pair: str) -> Spans:
        return undisturbed(lambda: self._archive.coverage.spans(pair), f"the files of {pair}")

    def _rows(self, pair: str, days: Span) -> Mapping[date, DayRows]:
        return held_days(self._archive.coverage.files(pair), days)

    def _same(self, pair: str, days: Iterable[Certified]) -> list[Certified]:
        """Return the certificates that hold for the rows here, and note the others."""
        by_number = {(one.day - _EPOCH).days: one for one in days}
        same: list[Certified] = []
        for stretch in Spans(Span(number, number) for number in by_number):
            rows = undisturbed(functools.partial(self._rows, pair, stretch), f"the files of {pair}")
            for one in (by_number[number] for number in range(stretch.first, stretch.last + 1)):
                if _holds_for(one, rows.get(one.day)):
                    same.append(one)
                else:
                    self._files.note_differing(one)
        return same


def _holds_for(one: Certified, rows: DayRows | None) -> bool:
    certified = (one.rows, one.first_id, one.last_id, one.sha256)
    return rows is not None and (rows.rows, rows.first_id, rows.last_id, rows.sha256) == certified
