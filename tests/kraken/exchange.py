"""A small pure model of the Trades endpoint: which rows it would send, and how it may misbehave."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from recorder.core.model import Instrument, Trade
from recorder.kraken.rest_api import Request
from recorder.kraken.timestamps import rest_micros
from recorder.kraken.trade_pages import TradesPage

INSTRUMENT = Instrument(
    "BTC/USD", "XXBTZUSD", "XBTUSD", "XBT/USD", "XXBT", "ZUSD", 1, 8, 5, "0.1", "0.00005", "0.5", "online"
)


def printed_us(time_ns: int) -> int:
    """Return what we read of a nanosecond time after REST printed it as a double."""
    return rest_micros(Decimal(repr(time_ns // 10**9 + time_ns % 10**9 / 1e9)))


def row(trade_id: int, time_us: int) -> Trade:
    return Trade("BTC/USD", trade_id, time_us, Decimal(1), Decimal(1), "buy", "limit", "", "rest", None)


@dataclass
class Exchange:
    """``times_ns[i]`` is the time of trade ``i + 1``, and they never go down. ``lacking`` ids are not served.

    The answers number ``without_last`` come without their cursor, those number ``repeated`` are the last answer again.
    """

    times_ns: Sequence[int]
    cap: int = 1000
    inclusive: bool = True
    lacking: frozenset[int] = frozenset()
    without_last: frozenset[int] = frozenset()
    repeated: frozenset[int] = frozenset()
    asked: int = 0
    _answer: TradesPage | None = field(default=None)

    def get(self, request: Request) -> TradesPage:
        since_ns = int(dict(request.params)["since"])
        number, self.asked = self.asked, self.asked + 1
        if number in self.repeated and self._answer is not None:
            return self._answer
        begin = (bisect_left if self.inclusive else bisect_right)(self.times_ns, since_ns)
        there = (index for index in range(begin, len(self.times_ns)) if index + 1 not in self.lacking)
        rows = [(index + 1, self.times_ns[index]) for index in itertools.islice(there, self.cap)]
        last = str(rows[-1][1] if rows else since_ns)
        page = TradesPage(
            tuple(row(trade_id, printed_us(time_ns)) for trade_id, time_ns in rows),
            None if number in self.without_last else last,
        )
        self._answer = page
        return page
