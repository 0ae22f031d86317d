"""The present Ticker and order book of one pair from REST, for ``recorder look``; not archived."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from recorder.core.model import Instrument
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.exact_numbers import exact_number

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Level:
    """A price level of the book, its quantity, and when it last changed, in seconds since 1970."""

    price: Decimal
    qty: Decimal
    time_s: int


@dataclass(frozen=True, slots=True)
class Day:
    """The last trade, and the last 24 hours of a pair: prices, volume in the base currency, and number of trades."""

    last: Decimal
    last_qty: Decimal
    low: Decimal
    high: Decimal
    vwap: Decimal
    volume: Decimal
    trades: int


@dataclass(frozen=True, slots=True)
class Book:
    """The best levels of either side, best first. Quantities are cut to three digits (API.md 6.8)."""

    asks: tuple[Level, ...]
    bids: tuple[Level, ...]

    @property
    def spread(self) -> Decimal | None:
        """The best ask minus the best bid; None if a side is empty."""
        return self.asks[0].price - self.bids[0].price if self.asks and self.bids else None

    @property
    def spread_bps(self) -> Decimal | None:
        """The spread in basis points of the mid price, to two digits."""
        if self.spread is None or (middle := (self.asks[0].price + self.bids[0].price) / 2) <= 0:
            return None
        return (self.spread / middle * 10_000).quantize(Decimal("0.01"))


def day(result: bytes, instrument: Instrument) -> Day:
    """Read the ``result`` of REST Ticker for one pair. Raises Malformed."""
    try:
        part = _only(wire.ticker_days(result), instrument)
        texts = (part.c[0], part.c[1], part.l[1], part.h[1], part.p[1], part.v[1])
        last, last_qty, low, high, vwap, volume = map(exact_number, texts)
        return Day(last, last_qty, low, high, vwap, volume, part.t[1])
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of Ticker for {instrument.pair} that cannot be read: {error}") from error


def book(result: bytes, instrument: Instrument) -> Book:
    """Read the ``result`` of REST Depth for one pair. Raises Malformed."""
    try:
        part = _only(wire.depths(result), instrument)
        return Book(_levels(part.asks), _levels(part.bids))
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of Depth for {instrument.pair} that cannot be read: {error}") from error


def _levels(side: list[wire.DepthLevel]) -> tuple[Level, ...]:
    return tuple(Level(exact_number(one.price), exact_number(one.qty), one.time) for one in side)


def _only(table: dict[str, _Part], instrument: Instrument) -> _Part:
    names = (instrument.key, instrument.altname, instrument.pair, instrument.wsname)
    for name in names:
        if name in table:
            return table[name]
    raise ValueError(f"it is of {', '.join(table) or 'no pair'}")
