"""Bars of one kind and size: the macro that makes them, its parameters, and the range of ids that they rest on.

Does not know snapshots or gaps. The macros are described in ``queries/macros``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from recorder.query import arguments
from recorder.query.arguments import BarKind, Range

VALUES: Final = ("open", "high", "low", "close", "vwap", "volume", "amount", "buy_volume")
"""The columns that are unknown where trades are missing."""
CANDLE: Final = ("time", "open", "high", "low", "close", "vwap", "volume", "count", "complete")
"""The columns of candles, which all bars have, after those of their series."""
IDS: Final = ("first_id", "last_id")
"""The columns with the ids of the trades that a bar is built from."""
_TIME: Final = """
    SELECT * EXCLUDE (pair)
    FROM time_bars(
        $pair, to_microseconds($size), make_timestamptz($start), make_timestamptz($stop), make_timestamptz($origin),
        $filled
    )
    ORDER BY time
"""
_OTHERS: Final = """
    SELECT * EXCLUDE (pair)
    FROM {kind}_bars($pair, $size, make_timestamptz($start), make_timestamptz($stop))
    ORDER BY first_id
"""


@dataclass(frozen=True, slots=True)
class BarQuery:
    """The requested bars: ``size`` is a number of microseconds or trades, a volume, or an amount, by ``kind``.

    Bars of time are counted from ``origin_us``, in µs since 1970 UTC, and ``filled`` asks for those without trades.
    """

    kind: BarKind
    size: int | Decimal
    filled: bool = False
    origin_us: int = 0

    @classmethod
    def of_time(cls, width_us: int, *, filled: bool = False, origin_us: int = 0) -> BarQuery:
        """Return a query of bars of this length."""
        return cls("time", width_us, filled, origin_us)

    @property
    def text(self) -> str:
        """The SQL for the bars of one pair."""
        return _TIME if self.kind == "time" else _OTHERS.format(kind=self.kind)

    @property
    def params(self) -> dict[str, object]:
        """The parameters of that SQL, besides the pair and the range."""
        of_time = {"origin": self.origin_us, "filled": self.filled}
        return {"size": self.size, **(of_time if self.kind == "time" else {})}

    def limits(self, requested: Range) -> Range:
        """Return the range of time whose trades make the bars that begin in ``requested``, as far as it is fixed."""
        return requested.in_widths(int(self.size), self.origin_us) if self.kind == "time" else requested


def query(kind: BarKind, size: object, *, filled: bool, origin_us: int | None) -> BarQuery:
    """Return the query for bars as a caller requests them. Raise UsageError."""
    arguments.bar_kind(kind)
    if kind == "time":
        return BarQuery.of_time(arguments.width_us(size), filled=filled, origin_us=origin_us or 0)
    arguments.only_of_time(kind, filled=filled, origin=origin_us is not None)
    amount = arguments.bar_size(kind, size)
    return BarQuery(kind, int(amount) if kind == "tick" else amount)
