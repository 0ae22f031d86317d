"""The difference between two ledgers of a pair: the one in memory, and the one read from the disk.

Contains only the comparison. Does not know when either was read: to find claims that the disk lacks, the caller must
copy the one in memory first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from recorder.core import evidence
from recorder.core.evidence import Confirmed, Dated, Promise
from recorder.core.ledger import PairLedger
from recorder.core.trade_ids import Spans


@dataclass(frozen=True, slots=True)
class LedgerClaims:
    """The claims about a pair: ids of each state, the newest answer that had nothing more, and the promise.

    ``disownings`` are the claims from which ``disowned`` follows.
    """

    held: Spans = field(default_factory=Spans)
    void: Spans = field(default_factory=Spans)
    confirmed: Confirmed | None = None
    promise: Promise | None = None
    disowned: Spans = field(default_factory=Spans)
    disownings: frozenset[Dated] = frozenset()
    unreadable: Spans = field(default_factory=Spans)

    @classmethod
    def of(cls, account: PairLedger) -> LedgerClaims:
        """Copy the present claims of ``account``."""
        return cls(
            account.spans.copy(),
            account.void.copy(),
            account.confirmed,
            account.promise,
            account.disowned.copy(),
            account.disownings,
            account.unreadable.copy(),
        )

    def difference(self, other: LedgerClaims) -> LedgerClaims:
        """Return the claims made here but not there, except void ids stored there, and stored ids disowned there."""
        void = _without(_without(self.void, other.void), other.held)
        begun_us = evidence.begun_us(other.disownings)
        if begun_us is not None and begun_us != evidence.begun_us(self.disownings):
            return LedgerClaims()  # all of it was about numbers that are no longer in use
        lost = _without(self.held, other.held)
        until_us = -1 if other.confirmed is None else other.confirmed.until_us
        newer = self.confirmed is not None and self.confirmed.until_us > until_us
        return LedgerClaims(
            # Once a pair is renumbered, new trades are quarantined and do not count.
            Spans() if evidence.renumbered(other.disownings) else _without(lost, other.disowned),
            void,
            self.confirmed if newer else None,
            self.promise if _promises_more(self.promise, other.promise) else None,
            disownings=self.disownings - other.disownings,
            unreadable=_without(_without(self.unreadable, other.unreadable), other.held),
        )

    def has_disowned(self, other: LedgerClaims) -> bool:
        """Return whether ids are disowned here that are stored there."""
        return any(self.disowned.within(span) for span in other.held)

    def __bool__(self) -> bool:
        """Return whether anything is claimed."""
        known = self.confirmed is not None or self.promise is not None
        return bool(known or self.held or self.void or self.unreadable or self.disownings)


def _without(spans: Spans, others: Spans) -> Spans:
    """Return the ids of ``spans`` that are not in ``others``."""
    if spans == others:  # nearly always
        return Spans()
    return Spans(part for span in spans for part in others.missing(span))


def _promises_more(one: Promise | None, other: Promise | None) -> bool:
    """Return whether ``one`` begins earlier, or at the same time and with a lower anchor, or the only anchor."""
    if one is None or other is None or one.time_us != other.time_us:
        return one is not None and (other is None or one.time_us < other.time_us)
    return one.after_id is not None and (other.after_id is None or one.after_id < other.after_id)
