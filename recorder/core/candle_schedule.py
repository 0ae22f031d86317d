"""The order in which candle series are requested, so that no candle leaves the exchange's window unfetched.

The exchange serves the last 720 committed intervals and nothing older (API.md 6.6): a candle that was not fetched
within 720 intervals can only be built from trades. Contains the choice of the next series and of how far back to
request it. Makes no requests and reads no clocks.

Two rules. A series whose deadline is near goes first, soonest deadline first. Otherwise the series that has been due
longest goes first, so that daily candles are not starved by thousands of minute candles. Among series due equally long,
as all are at a cold start, the shortest timeframe goes first because its window is the shortest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from recorder.core.backoff import next_delay_s
from recorder.core.model import TIMEFRAMES

WINDOW: Final = 720
"""Maximum number of committed intervals in one answer."""
URGENT_ROUNDS: Final = 4.0
"""A deadline is near when fewer than this many rounds over all series fit before it: a round may fail, be throttled and
be repeated, and there is still time."""
FIRST_RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 300.0
"""A series whose request failed is retried after 10 s, 20 s, … 5 min; others have their turn meanwhile."""
SETTLE_S: Final = 2.0
"""A candle is requested this many seconds after its end: the host's clock may be ahead, and the edge repeats an answer
for two seconds (API.md 2)."""
REWOUND_S: Final = 60.0
"""If the clock steps back by more than this many seconds, every series becomes due: the earlier times may have been
wrong by days."""
WHOLE_EVERY: Final = WINDOW // 2
"""Number of intervals after which the whole window is requested again: each candle is fetched about twice before it
leaves the window, so a revision is noticed."""
OVERLAP: Final = 2
"""Number of intervals before the newest stored candle at which a request begins. Sources disagree on whether ``since``
is inclusive (API.md 6.6): even if it is not, the answer overlaps the stored candles, which proves that there is no
gap."""


class Series(msgspec.Struct, frozen=True, order=True, gc=False):
    """The candles of one pair in one timeframe."""

    pair: str
    timeframe: str

    @property
    def interval_s(self) -> int:
        """Seconds of one candle."""
        return TIMEFRAMES[self.timeframe] * 60


class _State(msgspec.Struct):
    """The state of one series. Committed candles that began before ``held_until_s`` are stored or out of reach."""

    held_until_s: float
    due_s: float
    failures: int = 0
    entry: int = 0


_Heap = list[tuple[float, int, int, Series]]
"""Due time, seconds of one candle, entry number, series: equal times are ordered by the shorter timeframe."""


class CandleSchedule:
    """The turns of many series. All times are wall-clock seconds since 1970, because candles end by the clock.

    ``refresh_s`` is the shortest time between two requests for a series; a candle is never requested before it is
    committed. ``per_s`` is the rate of requests, from which the length of a round is estimated.
    """

    def __init__(self, *, refresh_s: float, per_s: float) -> None:
        self._refresh_s = refresh_s
        self._per_s = per_s
        self._states: dict[Series, _State] = {}
        self._later: _Heap = []  # by due time; the other two heaps contain what was due at the last check
        self._due: _Heap = []
        self._due_by_deadline: _Heap = []
        self._entries = 0
        self._now_s = float("-inf")

    def add(self, series: Series, now_s: float, *, held_until_s: float | None) -> None:
        """Add a series, due at once; ``held_until_s`` is the end of its last stored committed candle, if any."""
        reach_s = _floor(now_s, series.interval_s) - WINDOW * series.interval_s
        known = now_s if held_until_s is None else max(held_until_s, reach_s)
        # With no candle stored, the running interval is what matters from now on: the past is a bonus.
        self._put(series, _State(held_until_s=_floor(known, series.interval_s), due_s=now_s))

    def remove(self, series: Series) -> None:
        """Remove a series."""
        self._states.pop(series, None)

    def change(self, now_s: float, *, refresh_s: float, per_s: float) -> None:
        """Set the refresh interval and the rate. A series that becomes due earlier by them is rescheduled."""
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
        """Return the time at which the first unstored candle leaves the window."""
        return self._states[series].held_until_s + WINDOW * series.interval_s

    def slack_s(self, now_s: float) -> float:
        """Return the seconds until the nearest deadline of all; infinite for an empty schedule.

        Below zero, the exchange no longer serves some candle that is not stored.
        """
        return min((self.deadline_s(series) for series in self._states), default=float("inf")) - now_s

    def next(self, now_s: float) -> Series | None:
        """Return the series to request next; None when nothing is due."""
        self._look(now_s)
        if not self._due:
            return None
        deadline_s, _, _, nearest = self._due_by_deadline[0]
        rounds_left = (deadline_s - now_s) * self._per_s / len(self._states)
        return nearest if rounds_left < URGENT_ROUNDS else self._due[0][3]

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until a series is due; None for an empty schedule."""
        self._look(now_s)
        if self._due:
            return 0.0
        return self._later[0][0] - now_s if self._later else None

    def answered(self, series: Series, now_s: float, *, held_until_s: float) -> None:
        """Record that ``series`` is stored up to ``held_until_s``, the end of its last committed candle."""
        if series not in self._states:
            return
        due_s = self._due_s(series, now_s, held_until_s=held_until_s)
        self._put(series, _State(held_until_s=held_until_s, due_s=due_s))

    def failed(self, series: Series, now_s: float) -> None:
        """Record that the request for ``series`` failed."""
        state = self._states.get(series)
        if state is not None:
            failures = state.failures + 1
            wait_s = next_delay_s(failures, first_s=FIRST_RETRY_S, last_s=LAST_RETRY_S)
            self._put(series, _State(state.held_until_s, due_s=now_s + wait_s, failures=failures))

    def _due_s(self, series: Series, now_s: float, *, held_until_s: float) -> float:
        """Return when a series is due that was requested now and is stored up to ``held_until_s``."""
        # Use the earlier of both clocks: candles stored beyond now must not delay the next request.
        next_end_s = min(held_until_s, now_s) + series.interval_s
        return max(next_end_s + SETTLE_S, now_s + self._refresh_s)

    def _put(self, series: Series, state: _State) -> None:
        self._entries += 1
        state.entry = self._entries
        self._states[series] = state
        heapq.heappush(self._later, (state.due_s, series.interval_s, state.entry, series))

    def _look(self, now_s: float) -> None:
        """Move the series due at ``now_s`` to the heaps of due series; leave a valid entry first in each heap."""
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
        """Drop replaced entries, so that the first entry is valid."""
        while heap and getattr(self._states.get(heap[0][3]), "entry", None) != heap[0][2]:
            heapq.heappop(heap)


class HeldWindow(msgspec.Struct):
    """How far the candles of one series are stored, where the next request begins, and what an answer proves.

    All times are seconds since 1970, from the candles; no clock is read. ``until_s`` is the end of the newest stored
    candle, None if there is none.
    """

    interval_s: int
    until_s: int | None = None
    _whole_until_s: int = 0
    _step_s: int = 0
    _doubtful: bool = False

    def since_s(self) -> int | None:
        """Return where the next request begins; None for the whole window, which is requested every half window.

        Assumes that the next turn comes as late as the last one did.
        """
        if self.until_s is None or self._doubtful:
            return None
        if self.until_s + 2 * self._step_s - self._whole_until_s > WHOLE_EVERY * self.interval_s:
            return None
        return self.until_s - (1 + OVERLAP) * self.interval_s

    def take(self, first_s: int, until_s: int, *, whole: bool) -> bool:
        """Add an answer with the committed candles from ``first_s``, the start of its first, to ``until_s``.

        ``whole`` is whether the whole window was requested. Returns False if an answer does not continue the stored
        candles: then what is between is unknown, and the whole window is requested next.
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
        """Add an answer without a committed candle: correct only for a pair that has never traded."""
        self._doubtful = not whole or self.until_s is not None
        return not self._doubtful


def _floor(time_s: float, interval_s: int) -> float:
    return time_s // interval_s * interval_s
