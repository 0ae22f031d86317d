"""The ids of a pair that are not held: between which trades they lie, and so when they can have been made.

Owns: what follows from ids and times. It rests on one rule of the exchange: trades are numbered in the order in which
they are made.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from recorder.core.knowledge import Confirmed
from recorder.core.ledger import PairLedger, Run
from recorder.core.model import Span
from recorder.core.spans import Spans


def held_runs(pair: str, account: PairLedger) -> list[Run]:
    """Return the runs of ids held of ``pair``, lowest first."""
    times = account.time_us
    return [Run(pair, span, times(span.first), times(span.last)) for span in account.spans]


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids of which none is held, between the runs ``below`` and ``above``; none was made before ``from_us``."""

    ids: Span
    below: Run | None
    above: Run | None
    from_us: int | None


class Gaps:
    """What is not held of a pair, and when it can have been made.

    ``held`` are disjoint runs of ids, in any order. Held beats void, and a confirmation that a held trade refutes is
    not believed.
    """

    def __init__(self, held: Iterable[Run], void: Iterable[Span] = (), confirmed: Iterable[Confirmed] = ()) -> None:
        self.runs: Sequence[Run] = sorted(held, key=_first_id)
        self._firsts = [run.span.first for run in self.runs]
        self._held = Spans(run.span for run in self.runs)
        self._void = Spans(void)
        self._confirmed = sorted((known.last_id, known.until_us) for known in confirmed)
        # From each run on the earliest time: it refutes a confirmation that says that nothing came so early.
        self._earliest_us = list(accumulate((run.first_us for run in reversed(self.runs)), min))[::-1]

    def unknown(self) -> Iterator[Gap]:
        """Yield the gaps of ids neither held nor void, lowest first; the last one has all that may still come."""
        known = self._held.copy()
        known.update(self._void)
        for span in known.missing(Span(1, sys.maxsize)):
            yield self._bounded(self._gap(span))

    def void(self) -> Iterator[Gap]:
        """Yield the gaps of void ids, as far as they are not held after all."""
        for span in self._void:
            yield from map(self._gap, self._held.missing(span))

    def _gap(self, ids: Span) -> Gap:
        index = bisect_left(self._firsts, ids.first)
        below = self.runs[index - 1] if index else None
        above = self.runs[index] if index < len(self.runs) else None
        return Gap(ids, below, above, None if below is None else below.last_us)

    def _bounded(self, gap: Gap) -> Gap:
        """Return the gap with the latest moment until which the exchange has confirmed that none of its ids came."""
        earliest_us = None if gap.above is None else self._earliest_us[bisect_left(self._firsts, gap.ids.first)]
        # Of the confirmations those that speak of these ids: after the last one held, before the first of them.
        low = bisect_left(self._confirmed, (0 if gap.below is None else gap.below.span.last,))
        high = bisect_left(self._confirmed, (gap.ids.first,))
        until_us = [
            until_us
            for _, until_us in self._confirmed[low:high]
            if (earliest_us is None or until_us <= earliest_us) and (gap.from_us is None or until_us > gap.from_us)
        ]
        return replace(gap, from_us=max(until_us)) if until_us else gap


def _first_id(run: Run) -> int:
    return run.span.first
