"""Plausibility of the exchange's numbers: which are accepted at once, and which only after confirmation.

An id far from all others is not accepted before REST shows it or the stream continues from it: a single one would open
a gap that no request ever closes. A time is never a reason to reject an id.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from recorder.core.model import Trade
from recorder.core.trade_ids import Gap, Run, Span, Spans

REACH_IDS: Final = 1_000_000
"""An id may always be this far above the last stored trade: a day of the busiest pair, whatever the clocks show."""
IDS_PER_S: Final = 10_000
"""And this many further for each second since that trade: a hundred times the busiest pair, so that no outage reaches
it."""
FRAMES: Final = 2
"""Number of frames continuing from parked ids after which these are accepted: one may be a repeat, or the same
fault."""
EARLIEST_US: Final = 1_293_840_000_000_000
"""2011-01-01, before the exchange opened: an earlier time stamp is wrong."""
AHEAD_US: Final = 3_600_000_000
"""A time stamp may be this far ahead of the clock, because the clock may be behind."""
SAME_US: Final = 1_000
"""The stream and REST may stamp one trade this far apart: both truncate when printing, and prints of 2013 have four
digits."""
BACK_US: Final[tuple[int, ...]] = tuple(60_000_000 * 16**step for step in range(7))
"""How far before the trade above a gap to begin, in turn, if the time below it is implausible: a minute to 31 years."""
_US_PER_S: Final = 1_000_000


def is_far(trade_id: int, last_id: int, elapsed_us: int = 0) -> bool:
    """Return whether an id is further above the last one than ``elapsed_us`` explains; clocks may step back."""
    return trade_id > last_id + REACH_IDS + IDS_PER_S * max(0, elapsed_us) // _US_PER_S


def is_far_gap(gap: Gap) -> bool:
    """Return whether more ids are missing than can have been traded between the trades next to them."""
    if gap.after_us is None or gap.before_us is None:
        return False
    return is_far(gap.span.last, gap.span.first, gap.before_us - gap.after_us)


def is_time(time_us: int, now_us: int) -> bool:
    """Return whether a trade can have been made then, so that a request may begin there."""
    return EARLIEST_US <= time_us <= now_us + AHEAD_US


def is_before(time_us: int, moment_us: int) -> bool:
    """Return whether a trade with this time stamp was made before ``moment_us``; False for an implausible stamp."""
    return (EARLIEST_US if moment_us >= EARLIEST_US else 0) <= time_us < moment_us


def is_same(one: Trade, other: Trade) -> bool:
    """Return whether two rows with one id are the same trade: compares all that the stream and REST have in common."""
    return not _is_another(one, other) and abs(one.time_us - other.time_us) <= SAME_US


def _is_another(one: Trade, other: Trade) -> bool:
    return one.price != other.price or one.qty != other.qty or one.side != other.side


def renumbered_from(repeated: Iterable[tuple[Trade, Trade]]) -> Trade | None:
    """Return the first row from which on a pair is renumbered; None if it is not.

    ``repeated`` are rows received with stored ids, in order, each with the stored row. A single one that differs is a
    fault of the exchange; two such ids in a row are trades that it counts from 1 again. Rows that differ only in their
    time do not count: an exchange may change the stamps of its past, and continues from there.
    """
    for (one, held), (other, held_next) in pairwise(repeated):
        if one.trade_id != other.trade_id and _is_another(one, held) and _is_another(other, held_next):
            return one
    return None


def begin_us(gap: Gap, attempt: int = 0, now_us: int | None = None) -> int:
    """Return where to begin the request for a gap: at the trade below it, if its time is consistent with the one above.

    If the two are inconsistent, either may be wrong, so ``attempt`` (from 0) tries each in turn: before the one above,
    further and further back, and at the one below. If one is ahead of ``now_us``, the host's clock, it is wrong or the
    clock is behind: then before now is tried in turn.
    """
    below_us, above_us = _believed(gap.after_us), _believed(gap.before_us)
    ways: list[tuple[int, bool]] = []  # a time, and whether to begin further and further before it
    if below_us is not None and (above_us is None or below_us <= above_us + AHEAD_US):
        ways.append((below_us, False))
    else:
        ways += [(above_us, True)] if above_us is not None else []
        ways += [(below_us, False)] if below_us is not None else []
    now_us = None if now_us is None else _believed(now_us)
    if now_us is not None and not all(is_time(time_us, now_us) for time_us, _ in ways or [(0, True)]):
        ways.append((now_us, True))
    if not ways:
        return EARLIEST_US
    time_us, back = ways[attempt % len(ways)]
    return max(EARLIEST_US, time_us - BACK_US[attempt // len(ways) % len(BACK_US)]) if back else time_us


def _believed(time_us: int | None) -> int | None:
    return None if time_us is None or time_us < EARLIEST_US else time_us


class Arrivals:
    """Arrivals of one pair, in order, and its parked ids: not counted as stored until they are accepted.

    ``last_id`` is the highest id that counts, made at ``last_us`` (µs since 1970 UTC); both 0 if none does yet.
    """

    def __init__(self, parked: Iterable[Span] = ()) -> None:
        self.last_id = self.last_us = 0
        self.parked = Spans(parked)
        self._going_on = 0

    def streamed(self, run: Run, received_us: int) -> bool:
        """Process a run of a frame; return whether it counts. If it does not, its ids are parked.

        With nothing stored yet a run of several ids is accepted: they are consecutive.
        """
        begins = self.last_id == 0 and len(run.span) > 1
        elapsed_us = received_us - self.last_us if self.last_us >= EARLIEST_US else 0
        if begins or not is_far(run.span.first, self.last_id, elapsed_us) or self._goes_on(run.span):
            self.shown(run.span.last, run.last_us)
            return True
        self.parked.add(run.span)
        return False

    def shown(self, last_id: int, last_us: int) -> None:
        """Process the highest id, and its time, of rows that always count: they are stored, or REST showed them."""
        if last_id > self.last_id:
            self.last_id, self.last_us = last_id, last_us

    def released(self) -> Spans:
        """Return the parked ids that are no longer far away, and unpark them."""
        near = Spans()
        for span in self.parked:  # lowest first
            if is_far(span.first, self.last_id):
                break
            near.add(span)
        for span in near:
            self.parked.remove(span)
        if near:
            self._going_on = 0
        return near

    def _goes_on(self, span: Span) -> bool:
        """Return whether ``span`` continues parked ids, as enough spans before it did."""
        if span.last in self.parked or not self.parked.within(Span(span.first - 1, span.first)):
            return False
        self._going_on += 1
        return self._going_on >= FRAMES
