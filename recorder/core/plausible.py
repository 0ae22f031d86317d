"""What of an exchange's numbers is believed at once, and what only once more tells the same.

An id far from all others is no fact before REST shows it or the stream goes on from it: a single one would open a gap
that no request ever closes. A time is never a reason to disbelieve an id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from recorder.core.ids import Gap, Run, Span, Spans

REACH_IDS: Final = 1_000_000
"""So far above the last trade held an id may lie at any moment: a day of the busiest pair, whatever the clocks say."""
IDS_PER_S: Final = 10_000
"""And so many more for each second since that trade: a hundred times the busiest pair, so that no outage reaches it."""
FRAMES: Final = 2
"""So many frames that go on from parked ids make them believed: one may be a repeat, or the same fault again."""
EARLIEST_US: Final = 1_293_840_000_000_000
"""2011-01-01, before the exchange opened: what is stamped earlier was not made then."""
_US_PER_S: Final = 1_000_000


def is_far(trade_id: int, last_id: int, elapsed_us: int = 0) -> bool:
    """Return whether an id lies further above the last one than ``elapsed_us`` explains; clocks may step back."""
    return trade_id > last_id + REACH_IDS + IDS_PER_S * max(0, elapsed_us) // _US_PER_S


def is_far_gap(gap: Gap) -> bool:
    """Return whether more ids are missing than can have been traded between the trades next to them."""
    if gap.after_us is None or gap.before_us is None:
        return False
    return is_far(gap.span.last, gap.span.first, gap.before_us - gap.after_us)


class Arrivals:
    """What arrives of one pair, in order, and which ids of it are parked: not counted as held until they are believed.

    ``last_id`` is the highest id that counts, made at ``last_us`` (µs since 1970 UTC); both 0 where nothing does yet.
    """

    def __init__(self, parked: Iterable[Span] = ()) -> None:
        self.last_id = self.last_us = 0
        self.parked = Spans(parked)
        self._going_on = 0

    def streamed(self, run: Run, received_us: int) -> bool:
        """Take a run of a frame; return whether it counts. Where it does not, its ids are parked.

        With nothing held yet a run of several ids is believed: they go on from each other.
        """
        begins = self.last_id == 0 and len(run.span) > 1
        elapsed_us = received_us - self.last_us if self.last_us >= EARLIEST_US else 0
        if begins or not is_far(run.span.first, self.last_id, elapsed_us) or self._goes_on(run.span):
            self.shown(run.span.last, run.last_us)
            return True
        self.parked.add(run.span)
        return False

    def shown(self, last_id: int, last_us: int) -> None:
        """Take the highest id, and its time, of what counts without question: it is held, or REST showed it."""
        if last_id > self.last_id:
            self.last_id, self.last_us = last_id, last_us

    def released(self) -> Spans:
        """Return the parked ids that are not far any more, and count them as parked no more."""
        near = Spans(span for span in self.parked if not is_far(span.first, self.last_id))
        for span in near:
            self.parked.remove(span)
        if near:
            self._going_on = 0
        return near

    def _goes_on(self, span: Span) -> bool:
        """Return whether this goes on from parked ids, as enough before it did."""
        if not any(far.first <= span.first <= far.last + 1 and far.last < span.last for far in self.parked):
            return False
        self._going_on += 1
        return self._going_on >= FRAMES
