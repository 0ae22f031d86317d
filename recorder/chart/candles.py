"""The interactive chart of candles: its data, from plain rows to the JSON that ``assets/candles.js`` draws.

Contains the encoding, and how much of it fits on a page. Pure: it knows neither an archive nor pandas, so that anything
that has bars can draw them. A page carries the finest bars; the script makes longer ones from them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from recorder.core.model import TIMEFRAMES
from recorder.core.safe_text import printable

SLOTS: Final = 20_160
"""The maximum number of bars in the time of a chart, with trades or without: two weeks of minutes. A browser draws them
in half a second."""
BANDS: Final = 2_000
"""Up to this many gaps are drawn one by one; more are joined where they share a bar of the finest timeframe."""
DATA_BYTES: Final = 1_700_000
"""The maximum size of :meth:`CandleChart.data` as JSON; the page has 0.25 MB more, and stays below 2 MB."""
_EXACT: Final = 2**53
"""Integers below it are the same in JavaScript."""
_PRICE_SCALE: Final = 12
_VOLUME_SCALE: Final = 8
"""The largest numbers of decimals: those of the archive's columns."""


class Bar(NamedTuple):
    """A candle: its begin in µs since 1970 UTC, prices in the quote currency, volume in the base currency."""

    begin_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int


Kind = Literal["missing", "repaired", "before", "after", "outside", "imported", "published"]
"""What a span of time is. ``missing``: trades within the recording are not stored. ``repaired``: they were missed, and
fetched later. ``before`` and ``after`` the recording nothing is known, which is no gap. ``outside``: the chart has not
asked. ``imported``: its bars are from trades without ids, of history files; ``published``: from candles of such files.
"""


class Band(NamedTuple):
    """A span of time, in µs since 1970 UTC, None for an open end; ``missing`` ids, None where their number is unknown.

    Unless it is ``repaired``, ``imported`` or ``published``, the bars of both its ends are not complete, nor are those
    between.
    """

    kind: Kind
    from_us: int | None
    until_us: int | None
    missing: int | None = None


@dataclass(frozen=True, slots=True)
class CandleChart:
    """Bars of one pair in ascending order, and what is known of the time from ``from_us`` until ``until_us``.

    ``timeframe`` is that of the bars, which are whole. ``notes`` are sentences for the foot of the chart.
    """

    pair: str
    timeframe: str
    bars: Sequence[Bar]
    bands: Sequence[Band]
    from_us: int
    until_us: int
    notes: Sequence[str] = field(default=())

    def data(self) -> dict[str, Any]:
        """Return the chart as ``assets/candles.js`` reads it: times in ms, prices and volumes as integers.

        Prices are written as differences, which takes a third of the space: ``open`` from the close before, ``close``
        from the open, ``high`` and ``low`` from the body. Volumes are text, because a sum of them may exceed what a
        number of JavaScript holds.
        """
        base, _, quote = printable(self.pair).partition("/")
        width_us = TIMEFRAMES[self.timeframe] * 60_000_000
        prices, price_digits = _prices([price for bar in self.bars for price in bar[1:5]])
        volumes, volume_digits = _integers([bar.volume for bar in self.bars], _VOLUME_SCALE)
        opens, highs, lows, closes = (prices[place::4] for place in range(4))
        return {
            "pair": printable(self.pair),
            "base": base,
            "quote": quote,
            "timeframes": _buttons(self.timeframe, self.until_us - self.from_us),
            "from": self.from_us // 1000,
            "until": -(-self.until_us // 1000),
            "notes": [printable(note) for note in self.notes],
            "priceDigits": price_digits,
            "volumeDigits": volume_digits,
            "spans": [_span(band) for band in _few(self.bands, width_us)],
            "bars": {
                "gap": _steps([bar.begin_us // width_us for bar in self.bars]),
                "open": [price - before for before, price in zip([0, *closes], opens, strict=False)],
                "high": [price - max(ends) for price, *ends in zip(highs, opens, closes, strict=True)],
                "low": [min(ends) - price for price, *ends in zip(lows, opens, closes, strict=True)],
                "close": [close - price for price, close in zip(opens, closes, strict=True)],
                "volume": ",".join(map(str, volumes)),
                "count": [bar.trades for bar in self.bars],
            },
        }

    def json(self) -> str:
        """Return :meth:`data` as compact JSON."""
        return json.dumps(self.data(), ensure_ascii=False, separators=(",", ":"))


def candidates(timeframe: str, span_us: int) -> list[str]:
    """Return the timeframes, no finer than ``timeframe``, whose bars over ``span_us`` a page can have, finest first.

    >>> candidates("1m", 86_400_000_000)[0], candidates("1m", 3 * 365 * 86_400_000_000)[0]
    ('1m', '4h')
    """
    longer = [name for name, minutes in TIMEFRAMES.items() if minutes >= TIMEFRAMES[timeframe]]
    return [name for name in longer if span_us <= SLOTS * TIMEFRAMES[name] * 60_000_000] or longer[-1:]


def _buttons(finest: str, span_us: int) -> list[tuple[str, int]]:
    """Return the finest timeframe, and those made from it that are shorter than the span, with their minutes."""
    of = TIMEFRAMES[finest]
    longer = {name: minutes for name, minutes in TIMEFRAMES.items() if minutes > of and minutes % of == 0}
    return [(finest, of), *((name, minutes) for name, minutes in longer.items() if minutes * 60_000_000 < span_us)]


def _integers(values: Sequence[Decimal], scale: int) -> tuple[list[int], int]:
    """Return decimals as integers, and how many decimals these have: no more than the values need.

    >>> _integers([Decimal("1.50"), Decimal("20")], 8)
    ([15, 200], 1)
    """
    scaled = [int(value.scaleb(scale)) for value in values]
    unit, digits = math.gcd(*scaled), scale
    while digits and unit % 10 == 0:
        unit, digits = unit // 10, digits - 1
    return [value // 10 ** (scale - digits) for value in scaled], digits


def _prices(values: Sequence[Decimal]) -> tuple[list[int], int]:
    """Return prices as integers of fifteen digits at most, which is what a browser can draw."""
    found, digits = _integers(values, _PRICE_SCALE)
    while digits and max(found) >= _EXACT:
        found, digits = [price // 10 for price in found], digits - 1
    return found, digits


def _steps(numbers: Sequence[int]) -> list[int]:
    return [number - before for before, number in pairwise([0, *numbers])]


def _span(band: Band) -> dict[str, Any]:
    first_us, last_us = band.from_us, band.until_us
    return {
        "kind": band.kind,
        "from": None if first_us is None else first_us // 1000,
        "until": None if last_us is None else last_us // 1000,
        "missing": band.missing,
    }


def _few(bands: Sequence[Band], width_us: int) -> list[Band]:
    """Return the bands by their begin. Very many are joined where they share a bar: no bar's completeness changes."""
    ordered = sorted(bands, key=lambda band: -math.inf if band.from_us is None else band.from_us)
    if len(ordered) <= BANDS:
        return ordered
    joined: list[Band] = []
    last_of: dict[Kind, int] = {}
    for band in ordered:
        place = last_of.get(band.kind)
        if place is not None and _share_a_bar(joined[place], band, width_us):
            joined[place] = _join(joined[place], band)
        else:
            last_of[band.kind] = len(joined)
            joined.append(band)
    return joined


def _share_a_bar(band: Band, following: Band, width_us: int) -> bool:
    if band.until_us is None or following.from_us is None:
        return True
    return following.from_us // width_us <= band.until_us // width_us


def _join(band: Band, following: Band) -> Band:
    ends = (band.until_us, following.until_us)
    until_us = None if None in ends else max(end for end in ends if end is not None)
    missing = None if None in {band.missing, following.missing} else (band.missing or 0) + (following.missing or 0)
    return band._replace(until_us=until_us, missing=missing)
