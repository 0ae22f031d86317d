"""Which candles to ask for next, so that none ever slips out of the exchange's window.

The exchange serves the last 720 committed intervals and nothing older (API.md 6.6): a candle that was not fetched
within 720 intervals can only be built from trades. Owns: whose turn it is. Refuses: requests and clocks.

Two rules. A series whose deadline is near goes first, soonest deadline first. Otherwise whoever has waited longest
since news was due: so a day's candle is not starved by a thousand minutes'.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from recorder.core.model import TIMEFRAMES

WINDOW: Final = 720
"""Committed intervals that one answer holds at most."""
URGENT_ROUNDS: Final = 4.0
"""A deadline is near when fewer than so many rounds over all series fit before it: a round may fail, be throttled,
and be tried again, and there is still time."""
FIRST_RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 300.0
"""A series whose answer failed is tried again after 10 s, 20 s, … 5 min, and others have their turn meanwhile."""


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
    retry_s: float = FIRST_RETRY_S
    entry: int = 0


class Schedule:
    """Turns of many series. All times are wall-clock seconds since 1970, since candles end by the clock.

    ``refresh_s`` is how often a series is asked for at most; a candle is never asked for before it is committed.
    ``per_s`` is the pace of requests, by which the length of a round is judged.
    """

    def __init__(self, *, refresh_s: float, per_s: float) -> None:
        self._refresh_s = refresh_s
        self._per_s = per_s
        self._states: dict[Series, _State] = {}
        self._by_due: list[tuple[float, int, Series]] = []
        self._by_deadline: list[tuple[float, int, Series]] = []
        self._entries = 0

    def add(self, series: Series, now_s: float, *, held_until_s: float | None) -> None:
        """Take in a series, due at once; ``held_until_s`` is the end of its last committed candle held, if any."""
        reach_s = _floor(now_s, series.interval_s) - WINDOW * series.interval_s
        known = now_s if held_until_s is None else max(held_until_s, reach_s)
        # Without a candle held, what matters from now on is the interval that runs: the past is a bonus.
        self._put(series, _State(held_until_s=_floor(known, series.interval_s), due_s=now_s))

    def remove(self, series: Series) -> None:
        """Forget a series."""
        self._states.pop(series, None)

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

    def next(self, now_s: float) -> Series | None:
        """Return whose turn it is; None when nothing is due."""
        self._tidy(self._by_deadline)
        if self._by_deadline:
            deadline_s, _, nearest = self._by_deadline[0]
            rounds_left = (deadline_s - now_s) * self._per_s / len(self._states)
            if rounds_left < URGENT_ROUNDS and self._states[nearest].due_s <= now_s:
                return nearest
        self._tidy(self._by_due)
        if self._by_due and self._by_due[0][0] <= now_s:
            return self._by_due[0][2]
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Return seconds until something is due; None of an empty schedule."""
        self._tidy(self._by_due)
        return max(0.0, self._by_due[0][0] - now_s) if self._by_due else None

    def answered(self, series: Series, now_s: float, *, held_until_s: float) -> None:
        """Take note that ``series`` is held up to ``held_until_s``, the end of its last committed candle."""
        if series not in self._states:
            return
        next_end_s = held_until_s + series.interval_s
        self._put(series, _State(held_until_s=held_until_s, due_s=max(next_end_s, now_s + self._refresh_s)))

    def failed(self, series: Series, now_s: float) -> None:
        """Take note that asking for ``series`` brought nothing."""
        state = self._states.get(series)
        if state is not None:
            retry_s = min(LAST_RETRY_S, state.retry_s * 2)
            self._put(series, _State(state.held_until_s, due_s=now_s + state.retry_s, retry_s=retry_s))

    def _put(self, series: Series, state: _State) -> None:
        self._entries += 1
        state.entry = self._entries
        self._states[series] = state
        heapq.heappush(self._by_due, (state.due_s, state.entry, series))
        heapq.heappush(self._by_deadline, (state.held_until_s + WINDOW * series.interval_s, state.entry, series))

    def _tidy(self, heap: list[tuple[float, int, Series]]) -> None:
        """Drop entries that a later one has replaced, so that the first is in force."""
        while heap and getattr(self._states.get(heap[0][2]), "entry", None) != heap[0][1]:
            heapq.heappop(heap)


def _floor(time_s: float, interval_s: int) -> float:
    return time_s // interval_s * interval_s
