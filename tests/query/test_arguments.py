from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError
from recorder.query import arguments
from recorder.query.arguments import Instant, Range

MOMENT_US = 1_762_795_433_971_744


@pytest.mark.parametrize(
    "moment",
    [
        "2025-11-10T17:23:53.971744Z",
        "2025-11-10T18:23:53.971744+01:00",
        datetime(2025, 11, 10, 17, 23, 53, 971744, UTC),
        datetime(2025, 11, 10, 14, 23, 53, 971744, timezone(timedelta(hours=-3))),
        pd.Timestamp("2025-11-10T17:23:53.971744Z"),
        pd.Timestamp("2025-11-10T17:23:53.971743999Z"),
    ],
)
def test_a_moment_is_understood_as_people_write_it(moment: Instant) -> None:
    assert arguments.time_range(moment, None) == Range(MOMENT_US, None)


@pytest.mark.parametrize("day", ["2025-11-10", date(2025, 11, 10)])
def test_a_day_begins_at_midnight_utc(day: Instant) -> None:
    assert arguments.time_range(None, day) == Range(None, 1_762_732_800_000_000)


@pytest.mark.parametrize(
    "moment",
    ["2025-11-10T17:23:53", datetime(2025, 11, 10, 17), pd.Timestamp("2025-11-10T17:00")],  # noqa: DTZ001
)
def test_a_time_without_a_zone_is_refused_with_the_remedy(moment: Instant) -> None:
    with pytest.raises(UsageError, match=r"start 2025-11-10 17.* has no time zone.* write 2025-11-10T17.*Z"):
        arguments.time_range(moment, None)


def test_text_that_is_no_time_is_refused_with_an_example() -> None:
    with pytest.raises(UsageError, match="stop 'yesterday' is no time; write 2025-11-10T17:30:00Z"):
        arguments.time_range(None, "yesterday")


def test_a_reversed_range_is_refused_and_an_empty_one_is_not() -> None:
    assert arguments.time_range("2025-01-01", "2025-01-01").start_us is not None
    with pytest.raises(UsageError, match="start 2025-01-02 is after stop 2025-01-01; swap them"):
        arguments.time_range("2025-01-02", "2025-01-01")


def test_what_does_not_exist_is_refused_with_what_does() -> None:
    with pytest.raises(UsageError, match="no timeframe '60m': use one of 1m, 5m, 15m, 30m, 1h, 4h, 12h, 1d, 1w, 15d"):
        arguments.timeframe("60m")
    with pytest.raises(UsageError, match="no to 'excel': use one of pandas, arrow, polars"):
        arguments.output("excel")
    with pytest.raises(UsageError, match="no on_gap 'cry': use one of raise, warn, ignore"):
        arguments.on_gap("cry")  # type: ignore[arg-type]
    assert (arguments.timeframe("4h"), arguments.output("arrow"), arguments.on_gap("warn")) == ("4h", "arrow", "warn")


@pytest.mark.parametrize(
    ("name", "held", "hint"),
    [
        ("XBT/USD", ["BTC/USD", "ETH/USD"], "did you mean BTC/USD"),
        ("btc/usd", ["BTC/USD"], "did you mean BTC/USD"),
        ("BTCUSD", ["BTC/USD"], "did you mean BTC/USD"),
        ("SOL/EUR", ["XYZ/ABC"], "it holds XYZ/ABC"),
        ("SOL/EUR", [f"{n:03d}/QQQ" for n in range(12)], "009/QQQ and 2 more"),
        ("SOL/EUR", [], "it holds none of any pair yet, and what was received lately comes with the next drain"),
    ],
)
def test_a_pair_that_is_not_held_is_refused_with_those_that_are(name: str, held: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match=f"no trades of '{name}'; .*{hint}"):
        arguments.pair(name, held)


def test_a_pair_that_is_held_is_taken_as_it_is() -> None:
    assert arguments.pair("BTC/USD", ["BTC/USD"]) == "BTC/USD"


@given(st.integers(0, 2**51), st.integers(0, 2**51), st.sampled_from(list(TIMEFRAMES)))
def test_a_range_in_bars_holds_the_bars_that_begin_in_it_and_no_others(start: int, stop: int, name: str) -> None:
    width = TIMEFRAMES[name] * 60_000_000
    whole = Range(start, stop).in_bars(name)
    assert whole.start_us is not None
    assert whole.stop_us is not None
    for number in (start // width, start // width + 1, stop // width, stop // width + 1):
        begins_us = number * width
        assert (start <= begins_us < stop) == (whole.start_us <= begins_us < whole.stop_us)
    assert Range(None, None).in_bars(name) == Range(None, None)


@pytest.mark.parametrize("name", [None, 5, b"BTC/USD"])
def test_a_pair_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="a pair is a text"):
        arguments.pair(name, ["BTC/USD"])


@pytest.mark.parametrize("moment", [5, 1.5, pd.NaT, ["2026"]])
def test_a_moment_that_is_no_time_is_refused(moment: Any) -> None:
    with pytest.raises(UsageError, match="is no time"):
        arguments.time_range(moment, None)


@pytest.mark.parametrize("kind", ["connected", "clock_stepped", "listing_changed"])
def test_every_kind_of_event_that_is_written_can_be_asked_for_before_it_happens(kind: str) -> None:
    arguments.kind(kind, [])


def test_a_kind_of_event_that_there_is_not_is_refused_with_those_there_are() -> None:
    arguments.kind("of_another_release", ["of_another_release"])
    with pytest.raises(UsageError, match=r"no events of the kind 'conected': use one of .*clock_stepped.*, connected"):
        arguments.kind("conected", ["of_another_release"])


@pytest.mark.parametrize(
    ("written", "us"),
    [
        ("1970-01-01T00:00:00.0000001Z", 1),
        ("1970-01-01T00:00:00.000000000Z", 0),
        ("1970-01-01T00:00:00.0000019Z", 2),
        (pd.Timestamp(1, tz="UTC"), 1),
        (pd.Timestamp(1000, tz="UTC"), 1),
        (pd.Timestamp(-1, tz="UTC"), 0),
    ],
)
def test_what_is_finer_than_a_microsecond_is_rounded_up_at_both_ends(written: arguments.Instant, us: int) -> None:
    assert arguments.time_range(written, written) == Range(us, us)
