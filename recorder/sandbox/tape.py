"""All trades of one pair, in columns: the source of REST pages, snapshots and the truth.

Contains ids, which are dense unless some are skipped, integer-scaled values and the search by time; ``wire_format``
prints them. A trade takes 25 bytes, so that a history of 20 M trades fits in memory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.trade_ids import Span
from recorder.sandbox.pairs import Pair

SELL: Final = 1
MARKET: Final = 2
"""Bits of a trade's mark; a mark of 0 is a limit order that bought."""
SIDES: Final = ("buy", "sell", "buy", "sell")
ORD_TYPES: Final = ("limit", "limit", "market", "market")
"""Mark → the words of WebSocket v2."""


@dataclass(frozen=True, slots=True)
class NewTrades:
    """A run of trades that one pair has just made. Two numbers are enough: the tape knows which ids were skipped."""

    pair: str
    span: Span


class Tape:
    """Trades with ids ``first_id``, ``first_id + 1``, … in order of time; :meth:`skip` leaves some out for good.

    ``price_digits`` and ``qty_digits`` are the scales of the stored integers: the pair's own digits, or more if a
    replayed history is finer than the listing is today (API.md 1.7). ``socket_digits`` is what WebSocket prints of a
    price, unless it needs more.
    """

    __slots__ = (
        "_decimals",
        "_jumps",
        "_stamps",
        "first_id",
        "marks",
        "pair",
        "price_digits",
        "prices",
        "qty_digits",
        "qtys",
        "socket_digits",
        "times_ns",
    )

    def __init__(self, pair: Pair, *, first_id: int = 1, price_digits: int | None = None) -> None:
        self.pair = pair
        self.first_id = first_id
        self.price_digits = self.socket_digits = pair.pair_decimals if price_digits is None else price_digits
        self.qty_digits = pair.lot_decimals
        self.times_ns = array("q")
        self.prices = array("q")
        self.qtys = array("q")
        self.marks = bytearray()
        self._decimals = [(0, pair.pair_decimals)]
        # The index from which ids are higher than their index, and by how much.
        self._jumps = [(0, first_id)]
        self._stamps: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.marks)

    @property
    def last_id(self) -> int:
        """The newest id; ``first_id - 1`` for an empty tape."""
        return self._id_at(len(self.marks) - 1) if self.marks else self.first_id - 1

    @property
    def next_id(self) -> int:
        """The id that the next trade gets."""
        return len(self.marks) + self._jumps[-1][1]

    def skip(self, count: int) -> None:
        """Skip ``count`` ids for good: the next trade's id is that much higher."""
        assert self.marks, "before the first trade, first_id says where the ids begin"
        self._jumps.append((len(self.marks), self._jumps[-1][1] + count))

    def stamp(self, count: int, time_ns: int) -> None:
        """Stamp the next ``count`` trades with this time, whenever they are made: in every row, but not for paging."""
        begin = len(self.marks)
        self._stamps.update(dict.fromkeys(range(begin, begin + count), time_ns))

    @property
    def span(self) -> Span | None:
        """Every id, or None for an empty tape."""
        return Span(self.first_id, self.last_id) if self.marks else None

    def append(self, time_ns: int, *, price: int, qty: int, mark: int) -> int:
        """Append one trade at or after the last one's time; return its id."""
        assert not self.times_ns or time_ns >= self.times_ns[-1], "trades are made in order of time"
        self.times_ns.append(time_ns)
        self.prices.append(price)
        self.qtys.append(qty)
        self.marks.append(mark)
        return self.last_id

    def relist(self, pair: Pair, *, at_ns: int) -> None:
        """Continue under another entry of the listing: other names, another tick. Existing trades stay unchanged."""
        assert pair.lot_decimals == self.qty_digits, "the scale of quantities stays"
        if pair.pair_decimals > self.price_digits:
            finer = 10 ** (pair.pair_decimals - self.price_digits)
            self.prices = array("q", (price * finer for price in self.prices))
            self.price_digits = pair.pair_decimals
        self.pair = pair
        self.socket_digits = pair.pair_decimals
        self._decimals.append((at_ns, pair.pair_decimals))

    def decimals_at(self, time_ns: int) -> int:
        """Return the pair_decimals listed at a time; before the first change, the initial ones."""
        return self._decimals[max(0, bisect_right(self._decimals, time_ns, key=lambda since: since[0]) - 1)][1]

    def rows(self, span: Span) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (id, stamp in ns, price, qty, mark) of the trades in ``span``, whose ends the tape must have."""
        assert self.first_id <= span.first, f"{self.pair.symbol} has no ids {span}"
        assert span.last <= self.last_id, f"{self.pair.symbol} has no ids {span}"
        low, high = self._index(span.first), self._index(span.last) + 1
        times_ns: Sequence[int] = self.times_ns[low:high]
        if self._stamps:
            times_ns = [self._stamps.get(index, time_ns) for index, time_ns in enumerate(times_ns, low)]
        return zip(
            self._ids(low, high),
            times_ns,
            self.prices[low:high],
            self.qtys[low:high],
            self.marks[low:high],
            strict=True,
        )

    def newest(self, count: int) -> Span | None:
        """Return the ids of the latest ``count`` trades, or None if there are none."""
        return Span(self._id_at(max(0, len(self) - count)), self.last_id) if self.marks else None

    def page(self, since_ns: int, *, count: int, inclusive: bool) -> Span | None:
        """Return the ids of the first ``count`` trades at or after ``since_ns`` (``inclusive``), or after it."""
        find = bisect_left if inclusive else bisect_right
        low = find(self.times_ns, since_ns)
        return Span(self._id_at(low), self._id_at(min(low + count, len(self)) - 1)) if low < len(self) else None

    def time_ns(self, trade_id: int) -> int:
        """Return when the trade of an id that the tape has was made, whatever its stamp is."""
        return self.times_ns[self._index(trade_id)]

    def _id_at(self, index: int) -> int:
        return index + self._jumps[bisect_right(self._jumps, index, key=lambda jump: jump[0]) - 1][1]

    def _index(self, trade_id: int) -> int:
        jump = bisect_right(self._jumps, trade_id, key=lambda jump: jump[0] + jump[1]) - 1
        return trade_id - self._jumps[jump][1]

    def _ids(self, low: int, high: int) -> Iterator[int]:
        for index, (start, offset) in enumerate(self._jumps):
            stop = self._jumps[index + 1][0] if index + 1 < len(self._jumps) else high
            yield from range(max(low, start) + offset, min(high, stop) + offset)
