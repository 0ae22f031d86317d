"""Gap events: each gap is recorded once when it opens, and once when none of its ids is missing any more.

Contains what was recorded, and the limit on how much is recorded at once. That a gap has shrunk is not recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.trade_ids import Gap, Span, Spans

SINGLY: Final = 100
"""Up to this many newly opened gaps of a pair are recorded one by one; more are recorded together. Each note is a line
of the journal and an event, and all gaps that are left open are recorded at every start."""


@dataclass(frozen=True, slots=True)
class GapEvent:
    """One note of ``holes`` gaps of one pair: they are within ``span``, and ``missing`` is the number of their ids.

    ``after_us`` and ``before_us`` are the times of the trades stored next to the span, if known, in µs since 1970.
    """

    span: Span
    missing: int
    holes: int = 1
    after_us: int | None = None
    before_us: int | None = None


class GapEvents:
    """The gaps that were recorded of each pair, and those to be recorded next."""

    def __init__(self) -> None:
        self._seen: dict[str, Sequence[Gap]] = {}
        # The spans of notes whose gaps have not all closed, and their missing ids, by pair.
        self._open: dict[str, Spans] = {}
        self._missing: dict[str, Spans] = {}

    def changes(self, pair: str, gaps: Sequence[Gap]) -> tuple[list[GapEvent], list[GapEvent]]:
        """Return what to record of ``pair`` as opened and as closed, given its gaps, lowest first.

        If ``gaps`` is the same object as in the last call, nothing is new, and the call costs nothing.
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
    """Return the gaps to record together: if there are very many, all those with no recorded gap between them."""
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
