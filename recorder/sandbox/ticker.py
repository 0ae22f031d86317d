"""The REST Ticker of one tape: the day since 00:00 UTC and the last 24 hours (API.md 6.5), from its own trades.

Contains the two windows, which slide trade by trade: each trade is added once and removed once, and the extremes are
maintained. The best prices are those of the book. Uses no floats; vwaps are truncated to the digits that are printed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import Any, Final

from recorder.sandbox import book, wire_format
from recorder.sandbox.pairs import REST_QTY_DIGITS
from recorder.sandbox.tape import Tape

_DAY_NS: Final = 86_400 * 1_000_000_000


class Ticker:
    """The ticker of one tape."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._today = TradeWindow()
        self._last_24h = TradeWindow()
        self._scale = tape.price_digits

    def entry(self, now_ns: int) -> dict[str, Any]:
        """Return the pair's part of a Ticker answer; zeros for a pair that never traded."""
        tape = self.tape
        last_24h = self.last_24h(now_ns)
        windows = (self._today, last_24h)
        self._today.slide(tape, now_ns // _DAY_NS * _DAY_NS)
        last, qty = (tape.prices[-1], tape.qtys[-1]) if len(tape) else (0, 0)
        top = book.top(tape, now_ns)
        ask, bid = (0 if top is None or level is None else level.price for level in (top and top.ask, top and top.bid))
        lots = max(1, qty // 10**tape.qty_digits)
        opened = tape.prices[self._today.low] if self._today.count else last
        return {
            "a": [self._price(ask), str(lots), f"{lots}.000"],
            "b": [self._price(bid), str(lots), f"{lots}.000"],
            "c": [self._price(last), self._qty(qty)],
            "v": [self._qty(window.qty) for window in windows],
            "p": [self._vwap(window) for window in windows],
            "t": [window.count for window in windows],
            "l": [self._price(window.least(last)) for window in windows],
            "h": [self._price(window.greatest(last)) for window in windows],
            "o": self._price(opened),
        }

    def last_24h(self, now_ns: int) -> TradeWindow:
        """Return the trades of the last 24 hours."""
        if self.tape.price_digits != self._scale:
            self._today, self._last_24h, self._scale = TradeWindow(), TradeWindow(), self.tape.price_digits
        self._last_24h.slide(self.tape, now_ns - _DAY_NS)
        return self._last_24h

    def _price(self, price: int) -> str:
        return wire_format.price_text(price, self.tape.price_digits, self.tape.pair.rest_digits)

    def _qty(self, qty: int) -> str:
        return wire_format.fixed(qty * 10 ** (REST_QTY_DIGITS - self.tape.qty_digits), REST_QTY_DIGITS)

    def _vwap(self, window: TradeWindow) -> str:
        digits = max(self.tape.pair.rest_digits, self.tape.price_digits)
        finer = 10 ** (digits - self.tape.price_digits)
        return wire_format.fixed(window.notional * finer // window.qty if window.qty else 0, digits)


class TradeWindow:
    """The trades from some time on, as a run of indices of the tape, with their sums and extremes."""

    def __init__(self) -> None:
        # (index, price): those that no later trade of the window beats.
        self._lows: deque[tuple[int, int]] = deque()
        self._highs: deque[tuple[int, int]] = deque()
        self._begin(0)

    def _begin(self, low: int) -> None:
        self.low = self._high = low
        self.qty = self.notional = 0
        self._lows.clear()
        self._highs.clear()

    @property
    def count(self) -> int:
        """The number of trades."""
        return self._high - self.low

    def least(self, otherwise: int) -> int:
        """Return the lowest price."""
        return self._lows[0][1] if self._lows else otherwise

    def greatest(self, otherwise: int) -> int:
        """Return the highest price."""
        return self._highs[0][1] if self._highs else otherwise

    def slide(self, tape: Tape, from_ns: int) -> None:
        """Add the new trades of the tape, and remove those from before ``from_ns``."""
        low = max(self.low, bisect_left(tape.times_ns, from_ns))
        if low >= self._high:
            self._begin(low)
        for index in range(self.low, low):
            self.qty -= tape.qtys[index]
            self.notional -= tape.prices[index] * tape.qtys[index]
        self.low = low
        for index in range(self._high, len(tape)):
            price, qty = tape.prices[index], tape.qtys[index]
            self.qty += qty
            self.notional += price * qty
            while self._lows and self._lows[-1][1] >= price:
                self._lows.pop()
            while self._highs and self._highs[-1][1] <= price:
                self._highs.pop()
            self._lows.append((index, price))
            self._highs.append((index, price))
        self._high = len(tape)
        for extremes in (self._lows, self._highs):
            while extremes and extremes[0][0] < low:
                extremes.popleft()
