"""Times as the command line accepts them: UTC, in full, shortened, or relative to now."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import typer

from recorder.clock import SystemClock
from recorder.core.certificate import utc_day
from recorder.errors import UsageError
from recorder.query import arguments

_AGO: Final = re.compile(r"-(\d+)(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}
_ZONE: Final = re.compile(r"(?:z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)$", re.IGNORECASE)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d.*", re.IGNORECASE)


def instant(text: str, now: datetime) -> str:
    """Return ``text`` as a time with its zone; an unknown format is returned unchanged, to be refused later.

    A time without a zone is UTC: the command may run on any server, so local time would be ambiguous.

    >>> now = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
    >>> [instant(text, now) for text in ("-36h", "yesterday", "2026-11-01 06:00", "2026-11-01")]
    ['2026-11-28T00:30:00+00:00', '2026-11-28', '2026-11-01T06:00Z', '2026-11-01']
    """
    if text == "now":
        return now.isoformat()
    if text in _DAYS_AGO:
        return (now - timedelta(days=_DAYS_AGO[text])).date().isoformat()
    if ago := _AGO.fullmatch(text):
        try:
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()
        except OverflowError:
            raise UsageError(f"{text} is before the year 1") from None
    if _TIME.fullmatch(text) and not _ZONE.search(text[len("2026-11-01") :]):
        return f"{text.replace(' ', 'T')}Z"
    return text


def given(text: str | None) -> str | None:
    """Return the value of an option, relative to this machine's time."""
    return None if text is None else instant(text, datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC))


def day(end: str, text: str | None) -> date | None:
    """Return the UTC day of a time. Raise UsageError, which calls the option ``end``."""
    us = arguments.moment(end, text)
    return None if us is None else utc_day(us)


FORMS: Final = "2026-11-01, '2026-11-01 06:00' (UTC), today, or -1d for a day ago"

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", callback=given, help=f"The beginning: {FORMS}.")
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", callback=given, help="The end, not included; likewise.")
]
