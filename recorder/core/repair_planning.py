"""What is fetched next.

Live trades and the tail do not wait for this plan: they come by the stream, and by tasks of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.ledger import History
from recorder.core.trade_ids import Gap, Span

SHORT: Final = 50_000
"""A gap of more ids is a stretch of history: it takes minutes to days, and must not keep others waiting."""
TOGETHER: Final = 10_000
"""So many gaps of a pair, the newest, are filled together at most: each page looks at all of them for its place, in
milliseconds, and brings a thousand ids."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Gaps of ``pair``, lowest first, that are filled together: one page may close many."""

    pair: str
    gaps: tuple[Gap, ...]

    @property
    def before_us(self) -> int:
        """When the trade above the newest of them was made; 0 where none is held there."""
        return self.gaps[-1].before_us or 0

    def __str__(self) -> str:
        first, last = self.gaps[0], self.gaps[-1]
        return str(first) if first is last else f"{len(self.gaps)} gaps in ids {first.span.first}..{last.span.last}"


Work = Fill | History


def plan(gaps: Iterable[Sequence[Gap]], histories: Iterable[History] = ()) -> list[Work]:
    """Order what is to be fetched: short gaps, then long ones, then what lies before the first id held.

    ``gaps`` are those of one pair each, lowest first. The newest first in each kind, because recent rows are what users
    look at soonest. Short gaps of one pair go together.
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
    """Return whether this is a stretch of history, which may wait for weeks, not what a run of the recorder left."""
    return isinstance(work, History) or any(len(gap.span) > SHORT for gap in work.gaps)


def best_page(missing: Iterable[Span], rows: int) -> Span | None:
    """Return the ids of the page of ``rows`` that closes most of ``missing``; of equal ones the newest.

    ``missing`` come lowest first, and a page can begin only where one of them does. The pages considered are as few as
    can hold all of them: each begins at the first id that those below it do not reach. None if nothing is missing.
    """
    best, most = 0, 0
    begins, ends, closes = 0, -1, 0
    for span in missing:
        if span.first > ends:
            begins, ends, closes = span.first, span.first + rows - 1, 0
        closes += min(span.last, ends) - span.first + 1
        if begins and closes >= most:
            best, most = begins, closes
        if span.last > ends:  # the page after it goes on from within the span, and so on
            begins = 0
            ends += -(-(span.last - ends) // rows) * rows
    return Span(best, best + rows - 1) if most else None


def _turn(work: Work) -> tuple[int, int]:
    return 2 if isinstance(work, History) else int(is_history(work)), -work.before_us
