"""What charts are made of, whatever draws them: axes, bars, times. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from recorder.chart.candles import Band
from recorder.core.model import TIMEFRAMES

Row: TypeAlias = dict[str, Any]

_US: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Axis:
    """The span of a time axis, in µs since 1970 UTC."""

    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles to draw: rows of ``Archive.candles``, their timeframe, the axis, and what is known of the time on it."""

    rows: list[Row]
    timeframe: str
    axis: Axis
    bands: list[Band]
    finer: str | None
    """The requested timeframe, if it did not fit."""


def width_us(timeframe: str) -> int:
    """Return the length of a bar in µs."""
    return TIMEFRAMES[timeframe] * 60_000_000


def bar_begin(us: int, timeframe: str) -> int:
    """Return when the bar that contains this time begins; bars are counted from 1970."""
    return us // width_us(timeframe) * width_us(timeframe)


def micros(at: datetime) -> int:
    """Return a time in µs since 1970 UTC."""
    return (at - EPOCH) // _US


def moment(us: int) -> datetime:
    """Return the time ``us`` µs after 1970 UTC."""
    return EPOCH + us * _US


def text(us: int) -> str:
    """Return a time to the minute, or to the second if it is not a whole minute."""
    return f"{moment(us):{'%Y-%m-%d %H:%M' if us % 60_000_000 == 0 else '%Y-%m-%d %H:%M:%S'}}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "gap"), counted(2000, "gap")
    ('1 gap', '2,000 gaps')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"
