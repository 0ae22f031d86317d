"""Validation of what a caller requests: times, ranges, pairs, timeframes and formats.

Pure. Everything is checked before any file is read. Each mistake raises a UsageError whose message names valid values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, get_args

from recorder.core.event_kinds import EventKind
from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError
from recorder.kraken.pair_names import meant, v2_symbol

Instant = datetime | date | str | None
"""A time as a user writes it: a datetime with a time zone (pandas' too), ISO 8601 text with a zone, or a day, which
begins at midnight UTC. None: open end.
"""
Format = Literal["pandas", "arrow", "polars"]
Lazily = Literal["polars", "dataset"]
"""The forms of a scan: a polars.LazyFrame, or a pyarrow.dataset.Dataset."""
OnGap = Literal["raise", "warn", "ignore"]
BarGap = Literal["raise", "warn", "ignore", "null"]
"""What to do about bars that a gap touches; ``null`` keeps their rows without values."""
AnyGap = Literal["raise", "warn", "ignore", "null", "split"]
BarKind = Literal["time", "tick", "volume", "dollar"]
Index = Literal["time"] | None
"""The column that becomes the index of a pandas frame; None numbers the rows."""
Width = str | timedelta
"""The length of a bar: a timedelta (pandas' too), or text such as ``7 minutes``, ``1h`` or ``1 day 12 hours``."""
Clock = Literal["received", "time"]
"""Whose clock the moments of a book are of: the recording host's, or the exchange's."""
OrderSide = Literal["buy", "sell"]
Backend = Literal["pyarrow"] | None
"""The types of the columns of a pandas frame: Arrow's, or None for numpy's."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_DAY_TEXT: Final = len("2025-11-10")
_EXAMPLES: Final = {"pair": "BTC/USD", "kind": "connected"}
_FINER: Final = re.compile(r"[.,]\d{6}\d*[1-9]")
_SHOWN: Final = 10
"""The maximum number of names in a message."""
_MINUTE_US: Final = 60_000_000
_PART: Final = re.compile(r"\s*(\d+)\s*([A-Za-zµ]+)\s*")
_UNITS_US: Final = {
    **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), 1),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1_000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1_000_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), _MINUTE_US),
    **dict.fromkeys(("h", "hour", "hours"), 60 * _MINUTE_US),
    **dict.fromkeys(("d", "day", "days"), 1_440 * _MINUTE_US),
    **dict.fromkeys(("w", "week", "weeks"), 10_080 * _MINUTE_US),
}


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time in µs since 1970 UTC: ``start`` inclusive, ``stop`` exclusive, None an open end."""

    start_us: int | None
    stop_us: int | None

    def in_bars(self, timeframe: str) -> Range:
        """Return the range of the whole bars that begin in this range."""
        return self.in_widths(timeframe_us(timeframe))

    def in_widths(self, width_us: int, origin_us: int = 0) -> Range:
        """Return the same for bars of this length, one of which begins at ``origin_us``."""

        def ceiling(moment_us: int | None) -> int | None:
            return None if moment_us is None else -((origin_us - moment_us) // width_us) * width_us + origin_us

        return Range(ceiling(self.start_us), ceiling(self.stop_us))


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


def timeframe_us(name: str) -> int:
    """Return the length of a bar of a known timeframe in microseconds."""
    return TIMEFRAMES[name] * _MINUTE_US


def width_us(value: object) -> int:
    """Return the length of a bar in microseconds. Raise UsageError if it is none.

    >>> width_us("7 minutes"), width_us("1h30m"), width_us(timedelta(seconds=1))
    (420000000, 5400000000, 1000000)
    """
    found = _exact_us(value) if isinstance(value, timedelta) else _written_us(value)
    if found <= 0:
        raise UsageError(
            f"a bar has a fixed width above zero, such as '7 minutes', '1h' or a timedelta, not {value!r}; "
            "months and years have none: write them in days"
        )
    return found


def _exact_us(value: timedelta) -> int:
    """Return a duration in microseconds; 0 if it has nanoseconds too, as pandas' may."""
    return 0 if value % _US else value // _US


def _written_us(text: object) -> int:
    """Return a duration as a user writes it in microseconds; 0 if it is none."""
    if not isinstance(text, str):
        return 0
    parts = _PART.findall(text)
    # To pandas M is a month; the other units are the same in any case.
    known = [_UNITS_US.get(unit if unit == "M" else unit.lower(), 0) for _, unit in parts]
    if not all(known) or _PART.sub("", text):
        return 0
    return sum(int(count) * unit_us for (count, _), unit_us in zip(parts, known, strict=True))


def bar_size(kind: BarKind, size: object) -> Decimal:
    """Return how much is in a bar of a number of trades, a volume or an amount. Raise UsageError if it is no size."""
    try:
        found = Decimal(str(size))
    except InvalidOperation:
        found = Decimal(0)
    whole = kind != "tick" or found == found.to_integral_value()
    if isinstance(size, bool) or not found.is_finite() or found <= 0 or not whole:
        of = {"tick": "a whole number of trades", "volume": "a volume in the base currency"}
        what = of.get(kind, "an amount of the quote currency")
        raise UsageError(f"the size of {kind} bars is {what} above zero, not {size!r}")
    return found


def bar_kind(name: BarKind) -> BarKind:
    """Return ``name`` if it is a known kind of bars."""
    _one_of("kind", name, get_args(BarKind))
    return name


def only_of_time(kind: BarKind, **given: bool) -> None:
    """Raise UsageError if a parameter was given that only bars of time have."""
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{kind} bars have no {name}: leave it out, or ask for bars of time")


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


def scanned(to: str) -> str:
    """Return ``to`` if it is a known form of a scan."""
    return _one_of("to", to, get_args(Lazily))


def backend(name: str | None) -> None:
    """Raise UsageError if the backend is unknown."""
    if name not in {None, "pyarrow"}:
        raise UsageError(f"there is no dtype_backend {name!r}: use 'pyarrow', or leave it out for numpy's types")


def on_gap(choice: AnyGap, *more: AnyGap) -> AnyGap:
    """Return ``choice`` if it is a way to handle a gap that is always possible, or one of ``more``."""
    allowed = (*get_args(OnGap), *more)
    if choice in get_args(AnyGap) and choice not in allowed:
        why = "trades have no row to keep" if choice == "null" else "its rows share one grid, or come in pieces already"
        raise UsageError(f"on_gap={choice!r} is not possible here, for {why}: use one of {', '.join(allowed)}")
    _one_of("on_gap", choice, allowed)
    return choice


def index(name: Index, to: Format) -> Index:
    """Return ``name`` if it can be the index of a frame."""
    if name is not None:
        _one_of("index", name, ("time",))
        if to != "pandas":
            raise UsageError(f"a frame of {to} has no index: leave index out, time is a column of it")
    return name


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
        raise UsageError("no pair is requested: name one at least, such as 'BTC/USD'")
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
    near = meant(name, dict.fromkeys(held, ())) or difflib.get_close_matches(
        v2_symbol(name.strip().upper()), held, n=3, cutoff=0.6
    )
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif held:
        more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        hint = f"it holds {', '.join(sorted(held)[:_SHOWN])}{more}"
    else:
        hint = "it holds none of any pair yet, and what was received lately comes with the next drain"
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
