"""Ids that are neither stored nor open, by state: void, unreadable or disowned.

Contains the precedence of these states where several apply to one id. A stored id beats all of them; the caller ensures
that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from recorder.core.trade_ids import GapState, Spans


@dataclass(frozen=True, slots=True)
class AbsentIds:
    """The ids of one pair that are neither stored nor open. The owner's decision beats the exchange's answer.

    ``unreadable`` ids are still missing: the exchange serves a row for each, so an id that is both void and unreadable
    counts as unreadable. Void and disowned ids need not be stored.
    """

    void: Spans = field(default_factory=Spans)
    disowned: Spans = field(default_factory=Spans)
    unreadable: Spans = field(default_factory=Spans)

    def ids(self) -> Spans:
        """Return the ids of all three states. Do not change the result: it may be one of these sets itself."""
        return _joined(self.void, self.disowned, self.unreadable)

    def settled(self) -> Spans:
        """Return the ids that need not be stored. Do not change the result."""
        if not self.unreadable or not self.void:
            return _joined(self.void, self.disowned)
        return _joined(_without(self.void, self.unreadable), self.disowned)

    def by_state(self) -> Iterator[tuple[GapState, Spans]]:
        """Yield the ids of each state; the sets are disjoint."""
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
"""No absent ids."""
