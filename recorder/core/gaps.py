"""The ids of a pair that are not held: between which trades they lie, and so when they can have been made.

Owns: what follows from ids and times. It rests on one rule of the exchange: trades are numbered in the order in which
they are made.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from recorder.core.ids import Gap, GapState, Run, Span, Spans, gaps_between, joined
from recorder.core.knowledge import Confirmed


class Gaps:
    """What is not held of one pair, and when it can have been made.

    ``held`` are runs of ids, in any order. Held beats void, and a confirmation that a held trade refutes is not
    believed.
    """

    def __init__(self, held: Iterable[Run], void: Iterable[Span] = (), confirmed: Iterable[Confirmed] = ()) -> None:
        self.runs = joined(held)
        self._firsts = [run.span.first for run in self.runs]
        self._held = Spans(run.span for run in self.runs)
        self._void = Spans(void)
        self._confirmed = sorted((known.last_id, known.until_us) for known in confirmed)
        # From each run on the earliest time: it refutes a confirmation that says that nothing came so early.
        self._earliest_us = list(accumulate((run.first_us for run in reversed(self.runs)), min))[::-1]

    def before(self) -> list[Gap]:
        """Return the ids below the first one held that are not void, lowest first."""
        first = self._firsts[0]
        return [self._gap(part, "open") for part in self._void.missing(Span(1, first - 1))] if first > 1 else []

    def between(self) -> list[Gap]:
        """Return the ids between held ones that are not void, lowest first."""
        return gaps_between(self.runs, self._void)

    def after(self) -> list[Gap]:
        """Return the ids that may still come after the last one held, lowest first; the last gap has no end."""
        following = Span(self.runs[-1].span.last + 1, sys.maxsize)
        return [self._gap(part, "open") for part in self._void.missing(following)]

    def void(self) -> list[Gap]:
        """Return the void ids, as far as they are not held after all, lowest first."""
        return [self._gap(part, "void") for span in self._void for part in self._held.missing(span)]

    def from_us(self, gap: Gap) -> int | None:
        """Return the moment before which no trade of the gap can have been made; None where nothing says so.

        That is the time of the trade held below it, or later where an answer confirmed that none of its ids came.
        """
        index = bisect_left(self._firsts, gap.span.first)
        earliest_us = self._earliest_us[index] if index < len(self.runs) else None
        # Of the confirmations those that speak of these ids: after the last one held, before the first of them.
        low = bisect_left(self._confirmed, (self.runs[index - 1].span.last if index else 0,))
        high = bisect_left(self._confirmed, (gap.span.first,))
        until_us = [
            until_us for _, until_us in self._confirmed[low:high] if earliest_us is None or until_us <= earliest_us
        ]
        return max((moment for moment in (gap.after_us, *until_us) if moment is not None), default=None)

    def _gap(self, ids: Span, state: GapState) -> Gap:
        index = bisect_left(self._firsts, ids.first)
        below = self.runs[index - 1] if index else None
        above = self.runs[index] if index < len(self.runs) else None
        return Gap(
            self.runs[0].pair,
            ids,
            None if below is None else below.last_us,
            None if above is None else above.first_us,
            state,
        )
