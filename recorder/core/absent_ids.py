"""Ids that are not held, and not open, by what is known of each: void, unreadable or disowned.

Owns: which state counts of an id of which several are told. Held beats all of them; who asks sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from recorder.core.trade_ids import GapState, Spans


@dataclass(frozen=True, slots=True)
class AbsentIds:
    """What is known of ids of one pair that are not open. The owner's word counts before the exchange's.

    ``unreadable`` ids are lacking all the same: there is a row for each, and of an id that is also told to be void the
    row counts. The others need not be held.
    """

    void: Spans = field(default_factory=Spans)
    disowned: Spans = field(default_factory=Spans)
    unreadable: Spans = field(default_factory=Spans)

    def ids(self) -> Spans:
        """Return all of them. Not to be changed: it may be one of these sets itself."""
        return _joined(self.void, self.disowned, self.unreadable)

    def settled(self) -> Spans:
        """Return those that need not be held. Not to be changed."""
        if not self.unreadable or not self.void:
            return _joined(self.void, self.disowned)
        return _joined(_without(self.void, self.unreadable), self.disowned)

    def by_state(self) -> Iterator[tuple[GapState, Spans]]:
        """Yield the ids of each state; no id is in two of them."""
        yield "disowned", self.disowned
        yield "unreadable", _without(self.unreadable, self.disowned)
        yield "void", _without(_without(self.void, self.unreadable), self.disowned)


def _joined(*sets: Spans) -> Spans:
    filled = [one for one in sets if one]
    if len(filled) <= 1:
        return filled[0] if filled else Spans()
    return Spans(span for one in filled for span in one)


def _without(spans: Spans, others: Spans) -> Spans:
    return Spans(part for span in spans for part in others.missing(span)) if spans and others else spans


NOTHING: Final = AbsentIds()
"""Where nothing is known."""
