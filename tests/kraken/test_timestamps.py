from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recorder.kraken import timestamps

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = st.integers(0, 253_402_300_799)


@given(SECONDS, st.text("0123456789", max_size=9))
def test_a_stamp_of_any_digits_is_cut_to_microseconds_as_integers_say(second: int, digits: str) -> None:
    moment = EPOCH + timedelta(seconds=second)
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + (f".{digits}Z" if digits else "Z")
    nanos = int(digits.ljust(9, "0"))
    assert timestamps.micros(stamp) == second * 1_000_000 + nanos // 1000


def test_the_stamps_of_the_payloads_read_as_they_should() -> None:
    assert timestamps.micros("2026-07-07T23:00:05.562702Z") == 1_783_465_205_562_702
    assert timestamps.micros("2026-09-25T17:48:26.844359566Z") == timestamps.micros("2026-09-25T17:48:26.844359Z")
    assert timestamps.micros("2024-02-29T23:59:59Z") == 1_709_251_199_000_000


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "Z",
        "2026-07-07T23:00:05",
        "2026-07-07T23:00:05.562702",
        "2026-07-07T23:00:05.562702+00:00",
        "2026-07-07T23:00:05.562702z",
        "2026-07-07T23:00:05.Z",
        "2026-07-07T23:00:05,562702Z",
        "2026-07-07 23:00:05.562702Z",
        "2026-07-07T23:00:05Z123456Z",
        "2026-07-07T23:00:05.562702xyzZ",
        "2026-07-07T23:00:05.5627021234Z",
        "2026-07-07T23:00:05.+12345Z",
        "2026-07-07T23:00:05.٣٣٣٣٣٣Z",
        "٢026-07-07T23:00:05.562702Z",
        "2026-W28-2T23:00:05.562702Z",
        "20260707T230005.123.562702Z",
        "2026-07-07T23:00:05.562702Z ",
        "2026-02-30T23:00:05.562702Z",
        "2026-07-07T24:00:05.562702Z",
        "2026-07-07T23:00:60.562702Z",
        "0000-07-07T23:00:00.562702Z",
        "x" * 10_000,
    ],
)
def test_what_is_no_such_stamp_is_refused(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"UTC time like 2026|must be in|out of range"):
        timestamps.micros(stamp)


@given(st.text(max_size=30) | st.text("0123456789-T:.Z", min_size=18, max_size=31))
def test_no_text_is_misread_as_a_time(text: str) -> None:
    try:
        read = timestamps.micros(text)
    except ValueError:
        return
    stamp = (EPOCH + timedelta(microseconds=read)).isoformat(timespec="microseconds").removesuffix("+00:00")
    assert stamp.startswith(text[:-1][:26])


@given(SECONDS, st.text("0123456789", min_size=1, max_size=40))
def test_printed_seconds_are_cut_to_microseconds_as_integers_say(second: int, digits: str) -> None:
    assert timestamps.rest_micros(Decimal(f"{second}.{digits}")) == second * 1_000_000 + int(digits.ljust(6, "0")[:6])


@given(st.integers(1_300_000_000, 2_500_000_000), st.integers(0, 999_999_999))
@example(1_762_820_035, 982_277_754)
@example(1_790_359_841, 138_228_746)
def test_a_printed_double_is_cut_within_the_distance_that_refills_allow_for(second: int, nanos: int) -> None:
    printed = repr(second + nanos / 1e9)
    assert abs(timestamps.rest_micros(Decimal(printed)) * 1000 - (second * 1_000_000_000 + nanos)) <= 1_300


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-Infinity", "-62135596801", "1e20", "1e999999", "253402300800"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time in seconds since 1970"):
        timestamps.rest_micros(Decimal(text))


def test_whole_and_exponent_seconds_are_read() -> None:
    assert timestamps.rest_micros(Decimal(1756443816)) == 1_756_443_816_000_000
    assert timestamps.rest_micros(Decimal("1.756443816201052e9")) == 1_756_443_816_201_052
    assert timestamps.rest_micros(Decimal("1e-7")) == 0


@pytest.mark.parametrize("seconds", [-62_135_596_800, -1, 0, 4_176_528_432])
def test_odd_moments_are_read_alike_from_rest_and_from_the_stream(seconds: int) -> None:
    stamp = f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")
    assert timestamps.micros(stamp) == timestamps.rest_micros(Decimal(seconds)) == seconds * 1_000_000
    assert timestamps.rest_micros(Decimal(seconds) + Decimal("0.0000015")) == seconds * 1_000_000 + 1
