"""What a caller asks for, checked before anything is read: moments, ranges, pairs, timeframes, formats.

Pure. Each mistake is a UsageError whose sentence says what would be right.
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
"""A moment as people write it: a datetime with a time zone (pandas' too), ISO 8601 text with a zone, or a day, which
begins at midnight UTC. None: open end."""
Format = Literal["pandas", "arrow", "polars"]
OnGap = Literal["raise", "warn", "ignore"]
Backend = Literal["pyarrow"] | None
"""Which types a pandas frame has: Arrow's, or None for those of numpy."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_DAY_TEXT: Final = len("2025-11-10")
_EXAMPLES: Final = {"pair": "BTC/USD", "kind": "connected"}
_FINER: Final = re.compile(r"[.,]\d{6}\d*[1-9]")
_SHOWN: Final = 10
"""So many names in a sentence at most."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time in µs since 1970 UTC: ``start`` inclusive, ``stop`` exclusive, None an open end."""

    start_us: int | None
    stop_us: int | None

    def in_bars(self, timeframe: str) -> Range:
        """Return the range of the whole bars that begin in this one."""
        width_us = TIMEFRAMES[timeframe] * 60_000_000
        return Range(
            None if self.start_us is None else -(-self.start_us // width_us) * width_us,
            None if self.stop_us is None else -(-self.stop_us // width_us) * width_us,
        )


def time_range(start: Instant, stop: Instant) -> Range:
    """Read both ends of a range. Raises UsageError for a time without a zone, and where they are reversed.

    >>> time_range("2025-11-10", "2025-11-10T00:00:01Z")
    Range(start_us=1762732800000000, stop_us=1762732801000000)
    """
    asked = Range(moment("start", start), moment("stop", stop))
    if asked.start_us is not None and asked.stop_us is not None and asked.start_us > asked.stop_us:
        raise UsageError(f"the range is reversed: start {start} is after stop {stop}; swap them")
    return asked


def timeframe(name: str) -> str:
    """Return ``name`` if there is such a timeframe."""
    return _one_of("timeframe", name, tuple(TIMEFRAMES))


def bounds(threads: int | None, memory: str | None) -> dict[str, str]:
    """Return the settings of DuckDB for what a question may take.

    >>> bounds(2, "4GB")
    {'threads': '2', 'memory_limit': '4GB'}
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads = {threads}: give 1 or more")
    given = {"threads": threads, "memory_limit": memory}
    return {name: str(value) for name, value in given.items() if value is not None}


def output(to: str) -> str:
    """Return ``to`` if there is such a format."""
    return _one_of("to", to, get_args(Format))


def backend(name: str | None) -> None:
    """Return if there are such types."""
    if name not in {None, "pyarrow"}:
        raise UsageError(f"there is no dtype_backend {name!r}: use 'pyarrow', or leave it out for numpy's types")


def on_gap(choice: OnGap) -> OnGap:
    """Return ``choice`` if there is such a way to meet a hole."""
    _one_of("on_gap", choice, get_args(OnGap))
    return choice


def text(parameter: str, value: str) -> str:
    """Return ``value`` if it is a text."""
    if not isinstance(value, str):
        raise UsageError(f"a {parameter} is a text such as {_EXAMPLES[parameter]!r}, not {value!r}")
    return value


def pairs(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the pairs asked for, one or many, each once."""
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Iterable):
        raise UsageError(f"a pair is a text such as 'BTC/USD', or a list of them, not {names!r}")
    chosen = tuple(dict.fromkeys(text("pair", name) for name in names))
    if not chosen:
        raise UsageError("no pair is asked for: name one at least, such as 'BTC/USD'")
    return chosen


def rows(count: int) -> int:
    """Return ``count`` if a batch can have so many rows."""
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"rows is how many a batch has at most, a whole number of 1 or more, not {count!r}")
    return count


def pair(name: str, held: Collection[str], *, of: str = "trades") -> str:
    """Return ``name`` if the archive has trades (or what ``of`` says) of it; ``held`` are the pairs it has."""
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
    """Return if the archive has candles of this timeframe; ``held`` are the timeframes that it has of the pair."""
    if timeframe not in held:
        there = ", ".join(name for name in TIMEFRAMES if name in held)
        raise UsageError(
            f"the archive holds no {timeframe} candles of {pair}, but {there}: add {timeframe} to ohlc.timeframes to "
            f"record them, or build them with candles()"
        )


def kind(name: str, seen: Collection[str]) -> None:
    """Return if there can be events of this kind; ``seen`` are the kinds of which there are some."""
    known = {*EventKind, *seen}
    if name not in known:
        raise UsageError(f"there are no events of the kind {name!r}: use one of {', '.join(sorted(known))}")


def moment(end: str, value: Instant) -> int | None:
    """Read one end of a range, as µs since 1970 UTC. Raises UsageError, which calls it ``end``.

    What is finer is rounded up, at both ends: no trade lies between, so each belongs to one of two ranges that meet.
    """
    if value is None:
        return None
    finer = 0
    if isinstance(value, str):
        finer = 1 if _FINER.search(value) else 0  # what a datetime has no room for
        value = _parsed(end, value)
    if not isinstance(value, date) or value != value:  # noqa: PLR0124 -- NaT is a datetime that is none
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
    """Return if no moment among the parameters of a statement lacks its time zone. Raises UsageError.

    DuckDB would take it for UTC without a word, and a number of wrong rows would be the answer.
    """
    for name, value in params.items():
        for one in value if isinstance(value, (list, tuple, set)) else (value,):
            if isinstance(one, datetime) and one == one and one.tzinfo is None:  # noqa: PLR0124 -- but for NaT
                moment(name, one)
            if type(one).__name__ == "datetime64":  # numpy's, which knows no zones
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
