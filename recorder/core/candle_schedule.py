"""Which candles to ask for next, so that none ever slips out of the exchange's window.

The exchange serves the last 720 committed intervals and nothing older (API.md 6.6): a candle that was not fetched
within 720 intervals can only be built from trades. Owns: whose turn it is, and how far back to ask. Refuses: requests
and clocks.

Two rules. A series whose deadline is near goes first, soonest deadline first. Otherwise whoever has waited longest
since news was due: so a day's candle is not starved by a thousand minutes'. Of those that wait equally long, as all do
at a cold start, the shortest timeframe goes first: its window is the shortest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from recorder.core.backoff import next_delay_s
from recorder.core.model import TIMEFRAMES

WINDOW: Final = 720
"""Committed intervals that one answer holds at most."""
URGENT_ROUNDS: Final = 4.0
"""A deadline is near when fewer than so many rounds over all series fit before it: a round may fail, be throttled,
and be tried again, and there is still time."""
FIRST_RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 300.0
"""A series whose answer failed is tried again after 10 s, 20 s, … 5 min, and others have their turn meanwhile."""
SETTLE_S: Final = 2.0
"""A candle is asked for so long after its end: the host's clock may run ahead, and the edge repeats an answer for two
seconds (API.md 2)."""
REWOUND_S: Final = 60.0
"""A clock that steps back by more makes everything due: what it said before may have been wrong by days."""
WHOLE_EVERY: Final = WINDOW // 2
"""Intervals after which the whole window is asked for again: so each candle is looked at twice more or less before it
slips out, and a revision is seen."""
OVERLAP: Final = 2
"""Intervals before the newest candle held from which an answer is asked for. Whether ``since`` is included is
contradictory (API.md 6.6): even where it is not, the answer begins before the end of what is held, which proves that
nothing lies between."""


class Series(msgspec.Struct, frozen=True, order=True, gc=False):
    """The candles of one pair in one timeframe."""

    pair: str
    timeframe: str

    @property
    def interval_s(self) -> int:
        """Seconds of one candle."""
        return TIMEFRAMES[self.timeframe] * 60


class _State(msgspec.Struct):
    """``held_until_s``: every committed candle that began before it is held, or is out of reach."""

    held_until_s: float
    due_s: float
    failures: int = 0
    entry: int = 0


_Heap = list[tuple[float, int, int, Series]]
"""A time, then the seconds of one candle, then the number of the entry: equal times go by the shorter timeframe."""


class CandleSchedule:
    """Turns of many series. All times are wall-clock seconds since 1970, since candles end by the clock.

    ``refresh_s`` is how often a series is asked for at most; a candle is never asked for before it is committed.
    ``per_s`` is the pace of requests, by which the length of a round is judged.
    """

    def __init__(self, *, refresh_s: float, per_s: float) -> None:
        self._refresh_s = refresh_s
        self._per_s = per_s
        self._states: dict[Series, _State] = {}
        self._later: _Heap = []  # by when they are due; the other two hold those that were due at the last look
        self._due: _Heap = []
        self._due_by_deadline: _Heap = []
        self._entries = 0
        self._now_s = float("-inf")

    def add(self, series: Series, now_s: float, *, held_until_s: float | None) -> None:
        """Take in a series, due at once; ``held_until_s`` is the end of its last committed candle held, if any."""
        reach_s = _floor(now_s, series.interval_s) - WINDOW * series.interval_s
        known = now_s if held_until_s is None else max(held_until_s, reach_s)
        # Without a candle held, what matters from now on is the interval that runs: the past is a bonus.
        self._put(series, _State(held_until_s=_floor(known, series.interval_s), due_s=now_s))

    def remove(self, series: Series) -> None:
        """Forget a series."""
        self._states.pop(series, None)

    def change(self, now_s: float, *, refresh_s: float, per_s: float) -> None:
        """Ask as often, and judge by such a pace, from now on. What is due sooner by that is due sooner."""
        self._refresh_s, self._per_s = refresh_s, per_s
        for series, state in self._states.items():
            due_s = self._due_s(series, now_s, held_until_s=state.held_until_s)
            if due_s < state.due_s:
                self._put(series, msgspec.structs.replace(state, due_s=due_s))

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, series: Series) -> bool:
        return series in self._states

    def series(self) -> Iterable[Series]:
        """Return all series."""
        return list(self._states)

    def deadline_s(self, series: Series) -> float:
        """Return when the first candle not held slips out of the window."""
        return self._states[series].held_until_s + WINDOW * series.interval_s

    def slack_s(self, now_s: float) -> float:
        """Return seconds until the nearest deadline of all; infinite of an empty schedule.

        Below zero, the exchange no longer serves a candle that is not held.
        """
        return min((self.deadline_s(series) for series in self._states), default=float("inf")) - now_s

    def next(self, now_s: float) -> Series | None:
        """Return whose turn it is; None when nothing is due."""
        self._look(now_s)
        if not self._due:
            return None
        deadline_s, _, _, nearest = self._due_by_deadline[0]
        rounds_left = (deadline_s - now_s) * self._per_s / len(self._states)
        return nearest if rounds_left < URGENT_ROUNDS else self._due[0][3]

    def wait_s(self, now_s: float) -> float | None:
        """Return seconds until something is due; None of an empty schedule."""
        self._look(now_s)
        if self._due:
            return 0.0
        return self._later[0][0] - now_s if self._later else None

    def answered(self, series: Series, now_s: float, *, held_until_s: float) -> None:
        """Take note that ``series`` is held up to ``held_until_s``, the end of its last committed candle."""
        if series not in self._states:
            return
        due_s = self._due_s(series, now_s, held_until_s=held_until_s)
        self._put(series, _State(held_until_s=held_until_s, due_s=due_s))

    def failed(self, series: Series, now_s: float) -> None:
        """Take note that asking for ``series`` brought nothing."""
        state = self._states.get(series)
        if state is not None:
            failures = state.failures + 1
            wait_s = next_delay_s(failures, first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S)
            self._put(series, _State(state.held_until_s, due_s=now_s + wait_s, failures=failures))

    def _due_s(self, series: Series, now_s: float, *, held_until_s: float) -> float:
        """Return when a series is due that was asked for now and is held so far."""
        # By whichever clock is behind: what is held beyond now must not keep a series from being asked for.
        next_end_s = min(held_until_s, now_s) + series.interval_s
        return max(next_end_s + SETTLE_S, now_s + self._refresh_s)

    def _put(self, series: Series, state: _State) -> None:
        self._entries += 1
        state.entry = self._entries
        self._states[series] = state
        heapq.heappush(self._later, (state.due_s, series.interval_s, state.entry, series))

    def _look(self, now_s: float) -> None:
        """Sort out what is due at ``now_s``, so that the first of each heap is in force."""
        if now_s < self._now_s - REWOUND_S:
            for series, state in self._states.items():
                state.due_s = min(state.due_s, now_s)
                self._put(series, state)
        self._now_s = now_s
        self._tidy(self._later)
        while self._later and self._later[0][0] <= now_s:
            due_s, interval_s, entry, series = heapq.heappop(self._later)
            heapq.heappush(self._due, (due_s, interval_s, entry, series))
            heapq.heappush(self._due_by_deadline, (self.deadline_s(series), interval_s, entry, series))
            self._tidy(self._later)
        self._tidy(self._due)
        self._tidy(self._due_by_deadline)

    def _tidy(self, heap: _Heap) -> None:
        """Drop entries that a later one has replaced, so that the first is in force."""
        while heap and getattr(self._states.get(heap[0][3]), "entry", None) != heap[0][2]:
            heapq.heappop(heap)


class HeldWindow(msgspec.Struct):
    """How far the candles of one series are held, from where to ask on, and what an answer proves.

    All times are seconds since 1970, as candles tell them: no clock is asked. ``until_s`` is the end of the newest
    candle held, None where there is none.
    """

    interval_s: int
    until_s: int | None = None
    _whole_until_s: int = 0
    _step_s: int = 0
    _doubtful: bool = False

    def since_s(self) -> int | None:
        """Return from where to ask, in time for the whole window (None) to be asked for every half window.

        The next turn is taken to come as late as the last one did.
        """
        if self.until_s is None or self._doubtful:
            return None
        if self.until_s + 2 * self._step_s - self._whole_until_s > WHOLE_EVERY * self.interval_s:
            return None
        return self.until_s - (1 + OVERLAP) * self.interval_s

    def take(self, first_s: int, until_s: int, *, whole: bool) -> bool:
        """Take in an answer with the committed candles from ``first_s``, the start of its first, to ``until_s``.

        ``whole`` says that the whole window was asked for. Returns False where an answer does not continue what is
        held: then what lies between is unknown, and the whole window is asked for next.
        """
        if not whole and (self.until_s is None or not first_s <= self.until_s <= until_s):
            self._doubtful = True
            return False
        if self.until_s is not None and until_s > self.until_s:
            self._step_s = until_s - self.until_s
        if whole:
            self._whole_until_s = until_s
            self._doubtful = False
        self.until_s = until_s
        return True

    def take_none(self, *, whole: bool) -> bool:
        """Take in an answer without a committed candle: right only of a pair that has never traded."""
        self._doubtful = not whole or self.until_s is not None
        return not self._doubtful


def _floor(time_s: float, interval_s: int) -> float:
    return time_s // interval_s * interval_s
