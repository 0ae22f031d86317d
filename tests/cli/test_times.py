from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from recorder.cli.times import day, instant
from recorder.errors import UsageError
from recorder.query import arguments

NOW = datetime(2026, 11, 29, 12, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-11-29T12:30:15Z"),
        ("today", "2026-11-29T00:00:00Z"),
        ("yesterday", "2026-11-28T00:00:00Z"),
        ("-1d", "2026-11-28T12:30:15Z"),
        ("-90m", "2026-11-29T11:00:15Z"),
        ("-15s", "2026-11-29T12:30:00Z"),
        ("-2w", "2026-11-15T12:30:15Z"),
        ("2026-11-01 06:00", "2026-11-01T06:00:00Z"),
        ("2026-11-01T06:00:00.5", "2026-11-01T06:00:00.5Z"),
        ("2026-11-01 06:00+02:00", "2026-11-01T04:00:00Z"),
        ("2026-11-01T06:00Z", "2026-11-01T06:00:00Z"),
        ("2026-11-01", "2026-11-01T00:00:00Z"),
    ],
)
def test_a_time_may_be_short_relative_or_without_a_zone(text: str, meant: str) -> None:
    assert arguments.moment("--from", instant(text, NOW)) == arguments.moment("--from", meant)


@pytest.mark.parametrize("text", ["-1y", "tomorrow", "1d", "-d", "2026-13-01", "2026-11-01 25:00", ""])
def test_what_is_no_time_is_refused_as_it_was_written(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        arguments.moment("--from", instant(text, NOW))


def test_a_moment_before_all_years_is_refused() -> None:
    with pytest.raises(UsageError, match="before the year 1"):
        instant("-999999999w", NOW)


def test_a_day_is_that_of_a_time() -> None:
    assert day("--from", instant("-1d", NOW)) == date(2026, 11, 28)
    assert day("--to", None) is None
