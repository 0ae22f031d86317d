from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.disk_limits import LOW_BYTES, STOP_BYTES, DiskGrowth, DiskLimits, disk_limits

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("total", "per_day", "expected"),
    [
        (1000 * GB, 0, DiskLimits(LOW_BYTES, STOP_BYTES)),
        (1000 * GB, 50 * GB, DiskLimits(50 * GB, STOP_BYTES)),
        (100 * GB, 50 * GB, DiskLimits(10 * GB, STOP_BYTES)),
        (8 * GB, 0, DiskLimits(800_000_000, 200_000_000)),
        (16_000_000, 50 * GB, DiskLimits(1_600_000, 400_000)),
    ],
    ids=["large", "busy", "busy, and never more than a tenth", "small", "tiny"],
)
def test_the_low_mark_is_a_day_or_two_gigabytes_and_fits_the_disk(
    total: int, per_day: int, expected: DiskLimits
) -> None:
    assert disk_limits(total, per_day) == expected


@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_the_marks_stand_in_order_on_any_disk(total: int, per_day: int) -> None:
    found = disk_limits(total, per_day)
    assert 0 <= found.stop <= found.low <= found.relief <= max(total, 0)


def test_a_day_is_what_went_in_the_last_day_once_an_hour_was_seen() -> None:
    growth = DiskGrowth()
    growth.observe(0, 100 * GB)
    growth.observe(3599, 99 * GB)
    assert growth.per_day == 0
    growth.observe(3600, 99 * GB)
    assert growth.per_day == 24 * GB
    growth.observe(7200, 101 * GB)
    assert growth.per_day == 0
    for hour in range(3, 60):
        growth.observe(hour * 3600, 101 * GB - hour * GB // 10)
    assert growth.per_day == pytest.approx(2.4 * GB)
    assert len(growth._samples) <= 145
