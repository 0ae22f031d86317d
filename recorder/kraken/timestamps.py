"""Times as the exchange prints them, in µs since 1970 UTC."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Final

from recorder.kraken.exact_numbers import quoted

US_PER_S: Final = 1_000_000
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.")
_US: Final = Decimal("0.000001")
_FIRST_S: Final = -62_135_596_800
END_S: Final = 253_402_300_800
"""10000-01-01, in seconds since 1970: calendars, here and in every reader of the archive, have no time from then on."""


def micros(stamp: str) -> int:
    """Return µs since 1970 of an RFC 3339 UTC stamp with 0 to 9 digits, truncated (not rounded) like Kraken's.

    >>> micros("2026-07-07T23:00:05.562702Z") - micros("2026-07-07T23:00:05Z")
    562702
    """
    digits = stamp[20:-1]
    # Trades have six digits and a Z; the rest of the grammar is for other channels and other years.
    if len(digits) == 6 and digits.isdecimal() and stamp[-1] == "Z" and stamp.isascii():
        return _second_us(stamp[:20]) + int(digits)
    found = _STAMP.fullmatch(stamp)
    if found is None:
        raise _no_stamp(stamp)
    second, digits = found.groups("")
    return _second_us(f"{second}.") + int(digits[:6].ljust(6, "0"))


def rest_micros(seconds: Decimal) -> int:
    """Return µs since 1970 of REST's printed seconds, truncated. The print itself may be 119 ns off (API.md 7.3).

    Raises ValueError if it is no time from year 1 to 9999.
    """
    if not (seconds.is_finite() and _FIRST_S <= seconds < END_S):
        raise ValueError(f"{quoted(str(seconds))} is not a time in seconds since 1970, like 1756443816.201052")
    return int(seconds.quantize(_US, ROUND_FLOOR).scaleb(6))


@lru_cache(maxsize=1024)
def _second_us(stamp: str) -> int:
    """Return µs of a stamp up to its decimal point; cached, because many trades share a second."""
    if not _SECOND.fullmatch(stamp):  # datetime would accept week dates and commas too
        raise _no_stamp(stamp)
    moment = datetime.fromisoformat(f"{stamp[:19]}+00:00")
    return int(moment.timestamp()) * US_PER_S


def _no_stamp(stamp: str) -> ValueError:
    return ValueError(f"{quoted(stamp)} is not a UTC time like 2026-07-07T23:00:05.562702Z")
