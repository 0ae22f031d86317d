"""Validation of what a caller requests: times, ranges, pairs, timeframes and formats.

Pure. Everything is checked before any file is read. Each mistake raises a UsageError whose message names valid values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, get_args

from recorder.core.event_kinds import EventKind
from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError
from recorder.kraken.pair_names import v2_symbol

Instant = datetime | date | str | None
"""A time as a user writes it: a datetime with a time zone (pandas' too), ISO 8601 text with a zone, or a day, which
begins at midnight UTC. None: open end.
"""
Format = Literal["pandas", "arrow", "polars"]
OnGap = Literal["raise", "warn", "ignore"]
Backend = Literal["pyarrow"] | None
"""The types of the columns of a pandas frame: Arrow's, or None for numpy's."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_DAY_TEXT: Final = len("2025-11-10")
_EXAMPLES: Final = {"pair": "BTC/USD", "kind": "connected"}
_FINER: Final = re.compile(r"[.,]\d{6}\d*[1-9]")
_SHOWN: Final = 10
"""The maximum number of names in a message."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time in µs since 1970 UTC: ``start`` inclusive, ``stop`` exclusive, None an open end."""

    start_us: int | None
    stop_us: int | None

    def in_bars(self, timeframe: str) -> Range:
        """Return the range of the whole bars that begin in this range."""
        width_us = TIMEFRAMES[timeframe] * 60_000_000
        return Range(
            None if self.start_us is None else -(-self.start_us // width_us) * width_us,
            None if self.stop_us is None else -(-self.stop_us // width_us) * width_us,
        )


def time_range(start: Instant, stop: Instant) -> Range:
    """Return the range between two times. Raise UsageError for a time without a zone, and if they are reversed.

    >>> time_range("2025-11-10", "2025-11-10T00:00:01Z")
    Range(start_us=1762732800000000, stop_us=1762732801000000)
    """
    found = Range(moment("start", start), moment("stop", stop))
    if found.start_us is not None and found.stop_us is not None and found.start_us > found.stop_us:
        raise UsageError(f"the range is reversed: start {start} is after stop {stop}; swap them")
    return found


def timeframe(name: str) -> str:
    """Return ``name`` if it is a known timeframe."""
    return _one_of("timeframe", name, tuple(TIMEFRAMES))


def bounds(threads: int | None, memory: str | None) -> dict[str, str]:
    """Return DuckDB's settings for the resources that a query may use.

    >>> bounds(2, "4GB")
    {'threads': '2', 'memory_limit': '4GB'}
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads = {threads}: give 1 or more")
    given = {"threads": threads, "memory_limit": memory}
    return {name: str(value) for name, value in given.items() if value is not None}


def output(to: str) -> str:
    """Return ``to`` if it is a known format."""
    return _one_of("to", to, get_args(Format))


def backend(name: str | None) -> None:
    """Raise UsageError if the backend is unknown."""
    if name not in {None, "pyarrow"}:
        raise UsageError(f"there is no dtype_backend {name!r}: use 'pyarrow', or leave it out for numpy's types")


def on_gap(choice: OnGap) -> OnGap:
    """Return ``choice`` if it is a known way to handle a gap."""
    _one_of("on_gap", choice, get_args(OnGap))
    return choice


def text(parameter: str, value: str) -> str:
    """Return ``value`` if it is text."""
    if not isinstance(value, str):
        raise UsageError(f"a {parameter} is a text such as {_EXAMPLES[parameter]!r}, not {value!r}")
    return value


def pairs(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the requested pairs, one or many, without repeats."""
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Iterable):
        raise UsageError(f"a pair is a text such as 'BTC/USD', or a list of them, not {names!r}")
    chosen = tuple(dict.fromkeys(text("pair", name) for name in names))
    if not chosen:
        raise UsageError("no pair is asked for: name one at least, such as 'BTC/USD'")
    return chosen


def rows(count: int) -> int:
    """Return ``count`` if it is a valid number of rows for a batch."""
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"rows is how many a batch has at most, a whole number of 1 or more, not {count!r}")
    return count


def pair(name: str, held: Collection[str], *, of: str = "trades") -> str:
    """Return ``name`` if the archive has trades (or what ``of`` names) of it; ``held`` are the pairs that it has."""
    text("pair", name)
    if name in held:
        return name
    wanted = v2_symbol(name.strip().upper())
    near = difflib.get_close_matches(wanted, held, n=3, cutoff=0.6)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif held:
        more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        hint = f"it holds {', '.join(sorted(held)[:_SHOWN])}{more}"
    else:
        hint = "it holds none of any pair yet"
    raise UsageError(f"the archive holds no {of} of {name!r}; {hint}")


def check_recorded(pair: str, timeframe: str, held: Collection[str]) -> None:
    """Raise UsageError if the archive has no candles of this timeframe; ``held`` are the pair's timeframes."""
    if timeframe not in held:
        there = ", ".join(name for name in TIMEFRAMES if name in held)
        raise UsageError(
            f"the archive holds no {timeframe} candles of {pair}, but {there}: add {timeframe} to ohlc.timeframes to "
            f"record them, or build them with candles()"
        )


def kind(name: str, seen: Collection[str]) -> None:
    """Raise UsageError if there can be no events of this kind; ``seen`` are the kinds that occur."""
    known = {*EventKind, *seen}
    if name not in known:
        raise UsageError(f"there are no events of the kind {name!r}: use one of {', '.join(sorted(known))}")


def moment(end: str, value: Instant) -> int | None:
    """Return one end of a range in µs since 1970 UTC. Raise UsageError, which calls the end ``end``.

    Finer times are rounded up, at both ends. No trade falls between, so each trade belongs to exactly one of two
    adjacent ranges.
    """
    if value is None:
        return None
    finer = 0
    if isinstance(value, str):
        finer = 1 if _FINER.search(value) else 0  # finer than a datetime can represent
        value = _parsed(end, value)
    if not isinstance(value, date) or value != value:  # noqa: PLR0124 -- NaT is a datetime too
        raise UsageError(f"{end} {value!r} is no time; write 2025-11-10T17:30:00Z, a date, a datetime, or None")
    if not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    if value.tzinfo is None:
        raise UsageError(
            f"{end} {value} has no time zone; the archive is in UTC, so write {value.isoformat()}Z "
            f"or datetime(…, tzinfo=UTC)"
        )
    return -((_EPOCH - value) // _US) + finer


def zoned(params: Mapping[str, object]) -> None:
    """Raise UsageError if a time among the parameters of a statement has no time zone.

    DuckDB would silently treat it as UTC and return the wrong rows.
    """
    for name, value in params.items():
        for one in value if isinstance(value, (list, tuple, set)) else (value,):
            if isinstance(one, datetime) and one == one and one.tzinfo is None:  # noqa: PLR0124 -- except NaT
                moment(name, one)
            if type(one).__name__ == "datetime64":  # numpy's, which has no zones
                raise UsageError(f"{name} {one} has no time zone; write pandas.Timestamp(…, tz='UTC') or a datetime")


def _parsed(end: str, written: str) -> datetime | date:
    try:
        return date.fromisoformat(written) if len(written) == _DAY_TEXT else datetime.fromisoformat(written)
    except ValueError:
        raise UsageError(
            f"{end} {written!r} is no time; write 2025-11-10T17:30:00Z, or 2025-11-10 for the midnight that begins it"
        ) from None


def _one_of(parameter: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"there is no {parameter} {value!r}: use one of {', '.join(allowed)}")
    return value
