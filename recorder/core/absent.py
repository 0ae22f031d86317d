"""Ids that are not held and never asked for, by what is known of each: the exchange has none, or the owner wants none.

Owns: which state counts of an id of which several are told. Held beats all of them; who asks sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from recorder.core.ids import GapState, Spans


@dataclass(frozen=True, slots=True)
class Absent:
    """What is known of ids of one pair that need not be held. The owner's word counts before the exchange's."""

    void: Spans = field(default_factory=Spans)
    disowned: Spans = field(default_factory=Spans)

    def ids(self) -> Spans:
        """Return all of them. Not to be changed: it may be one of these sets itself."""
        if not self.disowned or not self.void:
            return self.void or self.disowned
        every = self.void.copy()
        every.update(self.disowned)
        return every

    def by_state(self) -> Iterator[tuple[GapState, Spans]]:
        """Yield the ids of each state; no id is in two of them."""
        yield "disowned", self.disowned
        if not self.disowned:
            yield "void", self.void
        else:
            yield "void", Spans(part for span in self.void for part in self.disowned.missing(span))


NOTHING: Final = Absent()
"""Where nothing is known."""
