from __future__ import annotations

from datetime import UTC, datetime

from recorder.clock import SystemClock


def test_waiting_time_never_steps_back() -> None:
    clock = SystemClock()
    seen = [clock.monotonic() for _ in range(1_000)]
    assert seen == sorted(seen)


def test_recording_time_is_nanoseconds_since_1970() -> None:
    before, now_ns, after = datetime.now(UTC), SystemClock().wall_ns(), datetime.now(UTC)
    assert isinstance(now_ns, int)
    assert before.timestamp() - 0.001 <= now_ns / 1e9 <= after.timestamp() + 0.001


async def test_sleep_takes_monotonic_time() -> None:
    clock = SystemClock()
    began_s = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() - began_s >= 0.0009
