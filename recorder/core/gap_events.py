"""Which gaps are to be noted: each once when it opens, and once when nothing of it is missing any more.

Owns: what was noted, and the bound on how much is noted at once. That a gap has shrunk is not noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.trade_ids import Gap, Span, Spans

SINGLY: Final = 100
"""So many gaps of a pair that opened since the last look are noted one by one; more than that together. Each note is a
line of the journal and an event, and all gaps that are left open are noted at every start."""


@dataclass(frozen=True, slots=True)
class GapEvent:
    """What is noted of ``holes`` gaps of one pair at once: they lie within ``span`` and lack so many ids.

    ``after_us`` and ``before_us`` are the times of the trades held next to the span, as far as known, in µs since 1970.
    """

    span: Span
    missing: int
    holes: int = 1
    after_us: int | None = None
    before_us: int | None = None


class GapEvents:
    """What was noted of each pair, and what is to be noted next."""

    def __init__(self) -> None:
        self._seen: dict[str, Sequence[Gap]] = {}
        # The spans of notes whose gaps have not all closed, and the ids that they said were missing, by pair.
        self._open: dict[str, Spans] = {}
        self._missing: dict[str, Spans] = {}

    def changes(self, pair: str, gaps: Sequence[Gap]) -> tuple[list[GapEvent], list[GapEvent]]:
        """Return what to note of ``pair`` as opened and as closed, given its gaps, lowest first.

        The same object as at the last look holds nothing new and costs nothing.
        """
        if self._seen.get(pair) is gaps:
            return [], []
        self._seen[pair] = gaps
        noted = self._open.setdefault(pair, Spans())
        missing = self._missing.setdefault(pair, Spans())
        opened = [_note(group) for group in _groups([gap for gap in gaps if not noted.covers(gap.span)], noted)]
        noted.update(note.span for note in opened)
        missing.update(gap.span for gap in gaps)
        still = Spans(gap.span for gap in gaps)
        closed = [_closed(span, missing) for span in noted if not still.within(span)]
        for note in closed:
            noted.remove(note.span)
            missing.remove(note.span)
        return opened, closed


def _groups(fresh: Sequence[Gap], noted: Spans) -> list[list[Gap]]:
    """Return the gaps to be noted together: with very many all between which none was noted before."""
    groups: list[list[Gap]] = []
    for gap in fresh:
        below = groups[-1][-1] if groups and len(fresh) > SINGLY else None
        if below is None or noted.within(Span(below.span.last + 1, gap.span.first)):
            groups.append([gap])
        else:
            groups[-1].append(gap)
    return groups


def _note(gaps: Sequence[Gap]) -> GapEvent:
    first, last = gaps[0], gaps[-1]
    return GapEvent(
        Span(first.span.first, last.span.last),
        sum(len(gap.span) for gap in gaps),
        len(gaps),
        first.after_us,
        last.before_us,
    )


def _closed(span: Span, missing: Spans) -> GapEvent:
    parts = missing.within(span)
    return GapEvent(span, sum(len(part) for part in parts), len(parts))
