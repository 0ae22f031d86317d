"""The candles of one tape at one interval, as REST OHLC serves them (API.md 6.6).

Contains the window of 720 committed intervals and the running one, silent intervals included, in integers only;
``wire_format`` prints them. Each trade is read once: sums are cached until they leave the window, so that repeated
requests cost no more than the rows requested, however long the history is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from operator import mul
from typing import Final, NamedTuple

from recorder.sandbox.tape import Tape

INTERVALS: Final = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
"""Minutes of the intervals that Kraken serves; all others are invalid arguments."""
COMMITTED: Final = 720
"""The maximum number of committed rows in an answer; the running one is added."""

_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _NS


class Candle(NamedTuple):
    """One interval, prices and quantities in the scales of the tape; ``notional`` is the sum of price times qty."""

    start_ns: int
    open: int
    high: int
    low: int
    close: int
    notional: int
    qty: int
    trades: int


class CandleSeries:
    """The candles of one tape at one interval of ``minutes``."""

    def __init__(self, tape: Tape, minutes: int) -> None:
        assert minutes in INTERVALS, f"Kraken has no candles of {minutes} minutes"
        self.tape = tape
        self._step_ns = minutes * _MINUTE_NS
        self._traded: deque[Candle] = deque()
        self._read = 0
        self._scale = tape.price_digits
        self._running_ns = 0
        self._late: dict[int, int] = {}

    def revise(self, start_s: int) -> None:
        """Change a candle from now on, as if one more trade of the least quantity, at its close, had been found."""
        self._late[start_s * _NS] = self._late.get(start_s * _NS, 0) + 1

    @property
    def committed_s(self) -> int:
        """The start of the last committed candle at the last request: ``last`` in an answer."""
        return (self._running_ns - self._step_ns) // _NS

    def window(self, now_ns: int, *, since_s: int | None = None, inclusive: bool = True) -> list[Candle]:
        """Return the candles at or after ``since_s`` (or after it, unless ``inclusive``), the running one always.

        Candles begin with the interval of the first trade: before it there is no price to be flat at. They are
        contiguous, and the last is the running one; none without a trade.
        """
        if not len(self.tape):
            return []
        # A burst can be ahead of the clock, and a clock can step back: committed candles stay committed.
        newest_ns = max(now_ns, self.tape.times_ns[-1], self._running_ns)
        running_ns = self._running_ns = newest_ns // self._step_ns * self._step_ns
        begin_ns = max(running_ns - COMMITTED * self._step_ns, self.tape.times_ns[0] // self._step_ns * self._step_ns)
        self._gather(begin_ns)
        if since_s is not None:
            steps, beyond_ns = divmod(since_s * _NS, self._step_ns)
            from_ns = (steps + (1 if beyond_ns or not inclusive else 0)) * self._step_ns
            begin_ns = min(max(begin_ns, from_ns), running_ns)
        return list(self._contiguous(begin_ns, running_ns))

    def _gather(self, begin_ns: int) -> None:
        """Read the trades that are new since the last time, but none from before the window."""
        tape, times_ns = self.tape, self.tape.times_ns
        if tape.price_digits != self._scale:
            self._traded.clear()
            self._read, self._scale = 0, tape.price_digits
        while self._traded and self._traded[0].start_ns < begin_ns:
            self._traded.popleft()
        self._read = max(self._read, bisect_left(times_ns, begin_ns))
        while self._read < len(times_ns):
            start_ns = times_ns[self._read] // self._step_ns * self._step_ns
            end = bisect_left(times_ns, start_ns + self._step_ns, self._read)
            prices, qtys = tape.prices[self._read : end], tape.qtys[self._read : end]
            candle = Candle(
                start_ns,
                prices[0],
                max(prices),
                min(prices),
                prices[-1],
                sum(map(mul, prices, qtys)),
                sum(qtys),
                len(prices),
            )
            if self._traded and self._traded[-1].start_ns == start_ns:
                candle = _joined(self._traded.pop(), candle)
            self._traded.append(candle)
            self._read = end

    def _contiguous(self, begin_ns: int, running_ns: int) -> Iterator[Candle]:
        """Yield a candle for every interval, flat at the previous close where nothing was traded."""
        before = bisect_left(self.tape.times_ns, begin_ns)
        close = self.tape.prices[before - 1] if before else 0
        traded = (candle for candle in self._traded if candle.start_ns >= begin_ns)
        following = next(traded, None)
        for start_ns in range(begin_ns, running_ns + 1, self._step_ns):
            candle = Candle(start_ns, close, close, close, close, 0, 0, 0)
            if following is not None and following.start_ns == start_ns:
                candle, following = following, next(traded, None)
            close = candle.close
            yield self._revised(candle) if start_ns in self._late else candle

    def _revised(self, candle: Candle) -> Candle:
        late = self._late[candle.start_ns]
        return candle._replace(
            notional=candle.notional + late * candle.close, qty=candle.qty + late, trades=candle.trades + late
        )


def _joined(one: Candle, following: Candle) -> Candle:
    """Return one interval merged from two parts."""
    return Candle(
        one.start_ns,
        one.open,
        max(one.high, following.high),
        min(one.low, following.low),
        following.close,
        one.notional + following.notional,
        one.qty + following.qty,
        one.trades + following.trades,
    )
