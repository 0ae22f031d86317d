"""Gaps: the ids of a pair that are not stored, the trades around them, and so when they can have been made.

Contains what follows from ids, times and the promise. It rests on one rule of the exchange: trades are numbered in the
order in which they are made. So the anchor of a promise divides ids like a trade does: those up to the anchor were made
before the time of the promise, those above were not.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from msgspec import structs

from recorder.core.absent_ids import NOTHING, AbsentIds
from recorder.core.evidence import Confirmed, Promise
from recorder.core.trade_ids import NO_IDS, Gap, Run, Span, Spans, joined

_Place = Literal["before", "between", "after"]
"""Position of ids that are not stored. ``between``: between stored ids, or between the anchor of the promise and the
first stored id, so that they are missing. ``before``: below everything stored or promised. ``after``: above everything
stored, where trades may have come since."""


class _Edge(NamedTuple):
    """Stored ids, or the anchor of a promise: an empty span between the ids that it divides (``last < first``)."""

    first: int
    last: int
    first_us: int
    last_us: int


class Gaps:
    """The ids of ``pair`` that are not stored, and when they can have been made.

    ``held`` are runs of stored ids, in any order; ``absent`` ids need not be stored. Stored beats absent, and a
    confirmation that a stored trade refutes is ignored. ``certified`` ids are known to exist.
    """

    def __init__(
        self,
        pair: str,
        held: Iterable[Run],
        absent: AbsentIds = NOTHING,
        confirmed: Iterable[Confirmed] = (),
        promise: Promise | None = None,
        *,
        certified: Spans = NO_IDS,
    ) -> None:
        self.runs = joined(held)
        self._pair = pair
        self._absent_by_state = absent
        self._absent = absent.ids()
        self._promise = promise
        self._certified = certified
        self._edges = _edges(self.runs, promise)
        self._firsts = [run.span.first for run in self.runs]
        self._confirmed = sorted((known.last_id, known.until_us) for known in confirmed)
        # The earliest time from each run on: it refutes a later confirmation that no trade had come.
        self._earliest_us = list(accumulate((run.first_us for run in reversed(self.runs)), min))[::-1]

    def before(self) -> list[Gap]:
        """Return the ids below everything stored or promised that are not absent, lowest first."""
        return self._placed("before")

    def between(self) -> list[Gap]:
        """Return the ids between stored ones, or from the anchor to the first one, that are not absent, lowest first.

        Certified ids are missing at any position.
        """
        return open_gaps(self._pair, self.runs, self._absent, self._promise, self._certified)

    def after(self) -> list[Gap]:
        """Return the ids that may still come after the last stored one, lowest first; the last gap has no end."""
        return self._placed("after")

    def absent(self) -> list[Gap]:
        """Return the ids that need not be stored and are not, lowest first within each state."""
        return [
            Gap(self._pair, part, after_us, before_us, state)
            for state, absent in self._absent_by_state.by_state()
            if absent
            for _, ids, after_us, before_us in _unheld(self.runs, self._edges, self._promise)
            for part in absent.within(ids)
        ]

    def from_us(self, gap: Gap) -> int | None:
        """Return the earliest time at which a trade of the gap can have been made; None if there is no bound.

        That is the time of the trade stored below it, or of the promise whose anchor is there, or later if an answer
        confirmed that none of its ids had come.
        """
        index = bisect_left(self._firsts, gap.span.first)
        earliest_us = self._earliest_us[index] if index < len(self.runs) else None
        # Only confirmations about these ids: after the last stored one, before the first of them.
        low = bisect_left(self._confirmed, (self.runs[index - 1].span.last if index else 0,))
        high = bisect_left(self._confirmed, (gap.span.first,))
        until_us = [
            until_us for _, until_us in self._confirmed[low:high] if earliest_us is None or until_us <= earliest_us
        ]
        return max((moment for moment in (gap.after_us, *until_us) if moment is not None), default=None)

    def _placed(self, wanted: _Place) -> list[Gap]:
        return [
            Gap(self._pair, piece, after_us, before_us)
            for place, ids, after_us, before_us in _unheld(self.runs, self._edges, self._promise)
            if place == wanted
            for part in self._absent.missing(ids)
            for piece in self._certified.missing(part)
        ]


def open_gaps(
    pair: str, runs: Sequence[Run], absent: Spans, promise: Promise | None = None, certified: Spans = NO_IDS
) -> list[Gap]:
    """Return what :meth:`Gaps.between` does: the missing ids of ``pair``. The runs must be :func:`joined` already."""
    gaps = _promised_gaps(pair, runs, absent, promise)
    if not certified:
        return gaps
    beyond = [
        Gap(pair, piece, after_us, before_us)
        for place, ids, after_us, before_us in _unheld(runs, _edges(runs, promise), promise)
        if place != "between"
        for part in absent.missing(ids)
        for piece in certified.within(part)
    ]
    return sorted([*gaps, *beyond], key=_span) if beyond else gaps


def wanted(
    gaps: Iterable[Gap],
    stored: Spans,
    imported: Spans,
    promise: Promise | None,
    certified: Spans,
    *,
    joined_after: int | None = None,
) -> list[Gap]:
    """Return the gaps without what only opened because rows were ``imported`` from history files.

    An import adds ids far below the others, and all between would be missing: a hundred million that nobody asked for.
    So of the gaps in ``stored`` ids those count that would be there without the import: between ids that the exchange
    sent, above the anchor of the promise, above the id that the owner ``joined_after``, or once ``certified``.
    """
    if not imported:
        return list(gaps)
    sent = Spans(part for span in stored for part in imported.missing(span))
    kept: list[Gap] = []
    for gap in gaps:
        between = sent.first is not None and sent.last is not None and sent.first < gap.span.first < sent.last
        joined = joined_after is not None and gap.span.first > joined_after
        if between or joined or _is_promised(gap, promise):
            kept.append(gap)
        else:
            kept += (structs.replace(gap, span=part) for part in certified.within(gap.span))
    return kept


def _is_promised(gap: Gap, promise: Promise | None) -> bool:
    if promise is None:
        return False
    if promise.after_id is not None:
        return gap.span.first > promise.after_id
    return gap.after_us is not None and gap.after_us >= promise.time_us


def _span(gap: Gap) -> Span:
    return gap.span


def _promised_gaps(pair: str, runs: Sequence[Run], absent: Spans, promise: Promise | None) -> list[Gap]:
    """Return what is missing between stored ids, or between the anchor and the first one stored.

    One pass, without the anchor, which divides one gap at most: a pair may have tens of thousands of gaps.
    """
    if promise is None or promise.after_id is None:
        return _between(pair, runs, absent)
    index = bisect_right(runs, promise.after_id, key=lambda run: run.span.first)
    below, above = runs[:index], runs[index:]
    if not above or (below and below[-1].span.last > promise.after_id):
        return _between(pair, runs, absent)
    parted = [(promise.after_id + 1, above[0].span.first - 1, promise.time_us, above[0].first_us)]
    if below:
        parted.insert(0, (below[-1].span.last + 1, promise.after_id, below[-1].last_us, promise.time_us))
    gaps = [
        Gap(pair, part, after_us, before_us)
        for first, last, after_us, before_us in parted
        if first <= last
        for part in absent.missing(Span(first, last))
    ]
    return [*_between(pair, below, absent), *gaps, *_between(pair, above, absent)]


def _between(pair: str, runs: Iterable[Run], absent: Spans) -> list[Gap]:
    return [
        Gap(pair, part, below.last_us, above.first_us)
        for below, above in pairwise(runs)
        for part in absent.missing(Span(below.span.last + 1, above.span.first - 1))
    ]


def _edges(runs: Iterable[Run], promise: Promise | None) -> list[_Edge]:
    """Return the stored ids, and the anchor unless the trades on both sides of it are stored; in ascending id."""
    edges = [_Edge(run.span.first, run.span.last, run.first_us, run.last_us) for run in runs]
    if promise is not None and promise.after_id is not None:
        anchor = _Edge(promise.after_id + 1, promise.after_id, promise.time_us, promise.time_us)
        index = bisect_left(edges, anchor)
        if index == 0 or edges[index - 1].last <= promise.after_id:
            edges.insert(index, anchor)
    return edges


def _unheld(
    runs: Sequence[Run], edges: Sequence[_Edge], promise: Promise | None
) -> Iterator[tuple[_Place, Span, int | None, int | None]]:
    """Yield all ids that are not stored, lowest first: their position, and when the trades beside them were made."""
    first_held, last_held = (runs[0].span.first, runs[-1].span.last) if runs else (sys.maxsize, 0)
    anchor = None if promise is None else promise.after_id
    for below, above in pairwise([None, *edges, None]):
        low = 1 if below is None else below.last + 1
        high = sys.maxsize if above is None else above.first - 1
        if low > high:
            continue
        promised, history = (False, False) if anchor is None else (low > anchor, low <= anchor)
        place: _Place
        if high < last_held:
            place = "between" if low > first_held or promised else "before"
        else:
            place = "before" if history else "after"
        yield (
            place,
            Span(low, high),
            None if below is None else below.last_us,
            None if above is None else above.first_us,
        )
