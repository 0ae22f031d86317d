"""The order in which gaps and history are fetched.

Live trades and the tail do not wait for this plan: they come by the stream, and by tasks of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.ledger import History
from recorder.core.trade_ids import Gap, Span

SHORT: Final = 50_000
"""A gap of more ids is treated as history: fetching it takes minutes to days, and must not delay others."""
TOGETHER: Final = 10_000
"""At most this many gaps of a pair, the newest, are filled together: each page is matched against all of them, in
milliseconds, and brings a thousand ids."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Gaps of ``pair``, lowest first, that are filled together: one page may close many."""

    pair: str
    gaps: tuple[Gap, ...]

    @property
    def before_us(self) -> int:
        """When the trade above the newest of them was made; 0 if none is stored there."""
        return self.gaps[-1].before_us or 0

    def __str__(self) -> str:
        first, last = self.gaps[0], self.gaps[-1]
        return str(first) if first is last else f"{len(self.gaps)} gaps in ids {first.span.first}..{last.span.last}"


Work = Fill | History


def plan(gaps: Iterable[Sequence[Gap]], histories: Iterable[History] = ()) -> list[Work]:
    """Return the work in order: short gaps, then long ones, then what is before the first stored id.

    ``gaps`` are those of one pair each, lowest first. Within each kind the newest come first, because recent rows are
    queried most. Short gaps of one pair are fetched together.
    """
    works: list[Work] = [*histories]
    for of_pair in gaps:
        short: list[Gap] = []
        for gap in of_pair:
            if len(gap.span) <= SHORT:
                short.append(gap)
            else:
                works.append(Fill(gap.pair, (gap,)))
        if short:
            works.append(Fill(short[0].pair, tuple(short[-TOGETHER:])))
    return sorted(works, key=_turn)


def is_history(work: Work) -> bool:
    """Return whether this is history, which may wait for weeks, rather than a gap that a run of the recorder left."""
    return isinstance(work, History) or any(len(gap.span) > SHORT for gap in work.gaps)


def best_page(missing: Iterable[Span], rows: int) -> Span | None:
    """Return the ids of the page of ``rows`` that closes most of ``missing``; of equal pages the newest.

    ``missing`` is sorted, and a page can begin only at the start of one of its spans. The pages considered are the
    fewest that can cover all of them: each begins at the first id that those below it do not reach. None if nothing is
    missing.
    """
    best, most = 0, 0
    begins, ends, closes = 0, -1, 0
    for span in missing:
        if span.first > ends:
            begins, ends, closes = span.first, span.first + rows - 1, 0
        closes += min(span.last, ends) - span.first + 1
        if begins and closes >= most:
            best, most = begins, closes
        if span.last > ends:  # the following pages continue within the span
            begins = 0
            ends += -(-(span.last - ends) // rows) * rows
    return Span(best, best + rows - 1) if most else None


def _turn(work: Work) -> tuple[int, int]:
    return 2 if isinstance(work, History) else int(is_history(work)), -work.before_us
