"""What a request may ask for: the parameters of each address, and their values. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from recorder.core.model import PAIR_LIMIT
from recorder.errors import UsageError
from recorder.query import arguments
from recorder.query.chart_rows import moment
from recorder.reader import trade_stream

Reading: TypeAlias = Callable[[str], Any]
"""Returns the value of a parameter as it is written. Raises ValueError or UsageError."""

_TEXT_LIMIT: Final = 2_000
_SHOWN: Final = 100
"""Characters of a value that an error quotes."""


def text(written: str) -> str:
    """Return a text that is not long, and Unicode: JSON can also write half of a surrogate pair."""
    if not written or len(written.encode()) > _TEXT_LIMIT or "\0" in written:
        raise ValueError(written)
    return written


def pair(written: str) -> str:
    """Return the name of a pair, which may be the name of a folder."""
    if len(text(written).encode()) > PAIR_LIMIT:
        raise UsageError(f"a pair's name has at most {PAIR_LIMIT} bytes")
    return written


def of_query(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a question of the catalogue. Raise UsageError for a text that can be none."""
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                _read(name, one, pair if name in {"pair", "pairs"} else _any_text)
    return dict(given)


def _any_text(written: str) -> str:
    return text(written) if written else written


def number(most: int) -> Reading:
    """Return what reads an integer from 0 to ``most``."""

    def read(written: str) -> int:
        if not written.isascii() or not written.isdigit() or len(written) > len(str(most)) or int(written) > most:
            raise UsageError(f"a number from 0 to {most}")
        return int(written)

    return read


def limit(most: int) -> Reading:
    """Return what reads the number of rows of a page, from 1 to ``most``."""

    def read(written: str) -> int:
        found: int = number(most)(written)
        if not found:
            raise UsageError(f"a number from 1 to {most}")
        return found

    return read


def time_us(written: str) -> int:
    """Return a time in µs since 1970 UTC: a day, or ISO 8601 with a zone."""
    found = arguments.time_range(text(written), None).start_us
    if found is None:
        raise ValueError(written)
    return found


def pairs(written: str) -> list[str]:
    """Return several pairs, each once."""
    found = list(dict.fromkeys(pair(part.strip()) for part in written.split(",")))
    if not all(found) or len(found) > trade_stream.PAIRS:
        raise UsageError(f"up to {trade_stream.PAIRS} pairs, such as BTC/USD,ETH/USD")
    return found


ID: Final = number(2**62)
CURSOR: Final = text


def read(given: Mapping[str, str], known: Mapping[str, Reading], needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the values of the parameters ``given``. Raise UsageError for one that is unknown, missing or invalid."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
            raise UsageError(f"there is no parameter {name!r}; {hint}")
    for name in needed:
        if not given.get(name):
            raise UsageError(f"{name} is missing, such as {_EXAMPLES.get(name, '…')}")
    return {name: _read(name, written, known[name]) for name, written in given.items()}


def _read(name: str, written: str, reading: Reading) -> Any:  # noqa: ANN401 -- of many types
    try:
        return reading(written)
    except UsageError as error:
        raise UsageError(f"{name} is {_shown(written)}: {error}") from None
    except ValueError:  # UnicodeEncodeError is one
        raise UsageError(f"{name} is {_shown(written)}: write something like {_EXAMPLES.get(name, 'a text')}") from None


def _shown(written: str) -> str:
    return repr(written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…")


def as_time(us: int | None) -> object:
    """Return a time for a parameter of SQL."""
    return None if us is None else moment(us)


_EXAMPLES: Final = {
    "pair": "BTC/USD",
    "pairs": "BTC/USD,ETH/USD",
    "timeframe": "1h",
    "start": "2025-11-10",
    "stop": "2025-11-10T12:00:00Z",
    "kind": "connected",
}
