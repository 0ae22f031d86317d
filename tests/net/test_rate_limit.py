from __future__ import annotations

import fcntl
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.backoff import BURST, SPACING_S
from recorder.core.throttling import LONGEST_PAUSE_S
from recorder.errors import DiskError
from recorder.net.rate_limit import AttemptLimit, SharedRateLimit
from tests.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    clock = ManualClock()
    clock.move(5000)  # so long has the machine been running
    return clock


@pytest.fixture
def turns(tmp_path: Path, clock: ManualClock) -> SharedRateLimit:
    return SharedRateLimit(tmp_path / "turns", clock)


def test_those_who_take_turns_through_one_file_go_one_after_the_other(
    tmp_path: Path, turns: SharedRateLimit, clock: ManualClock
) -> None:
    other = SharedRateLimit(tmp_path / "turns", clock)
    assert turns.claim(1.0) == 0.0
    clock.move(0.4)
    assert other.claim(1.0) == pytest.approx(0.6)
    clock.move(0.6)
    assert other.claim(2.0) == 0.0
    assert turns.claim(1.0) == pytest.approx(2.0)


def test_nobody_waits_for_one_who_was_stopped_while_it_held_the_file(
    tmp_path: Path, turns: SharedRateLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with (tmp_path / "turns").open("wb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert turns.claim(1.0) == 0.0
        assert sum(waits) < 0.25, "and once it is known to be stopped, nobody waits at all"
        waits.clear()
        assert turns.claim(1.0) == pytest.approx(1.0)
        fcntl.flock(stopped, fcntl.LOCK_UN)
        turns.claim(1.0)
        assert waits == []
        fcntl.flock(stopped, fcntl.LOCK_EX)
        turns.claim(1.0)
        assert waits


def test_a_late_request_delays_no_other_and_a_rest_earns_no_burst(turns: SharedRateLimit, clock: ManualClock) -> None:
    assert turns.claim(1.0) == 0.0
    clock.move(1.3)
    assert turns.claim(1.0) == 0.0
    assert turns.claim(1.0) == pytest.approx(0.7)
    clock.move(7.7)
    assert turns.claim(1.0) == 0.0
    assert turns.claim(1.0) == pytest.approx(1.0)


def test_a_pause_holds_for_all_and_is_never_shortened(
    tmp_path: Path, turns: SharedRateLimit, clock: ManualClock
) -> None:
    turns.pause(30)
    turns.pause(5)
    other = SharedRateLimit(tmp_path / "turns", clock)
    assert other.claim(1.0) == pytest.approx(30.0)
    clock.move(30)
    assert other.claim(1.0) == 0.0


@pytest.mark.parametrize("step_s", [-60, -3600, -86_400])
def test_a_clock_that_is_set_back_lengthens_no_turn(turns: SharedRateLimit, clock: ManualClock, step_s: float) -> None:
    assert turns.claim(1.0) == 0.0
    clock.step(step_s)
    assert turns.claim(1.0) == pytest.approx(1.0)
    clock.move(1.0)
    assert turns.claim(1.0) == 0.0
    assert turns.claim(1.0) == pytest.approx(1.0), "by a clock that goes on, the next turn is where it should be"


def test_a_machine_that_starts_anew_waits_for_no_turn_of_its_earlier_life(tmp_path: Path) -> None:
    clock = ManualClock()
    clock.move(600)
    SharedRateLimit(tmp_path / "turns", clock).claim(1.0)
    reborn = ManualClock(clock.wall_ns() + 60 * 10**9)  # whose monotonic clock begins at zero
    assert SharedRateLimit(tmp_path / "turns", reborn).claim(1.0) == 0.0


def test_attempts_are_counted_over_those_who_come_one_after_the_other(tmp_path: Path, clock: ManualClock) -> None:
    for _ in range(BURST):
        assert AttemptLimit(tmp_path / "attempts", clock).claim() == 0.0
    assert AttemptLimit(tmp_path / "attempts", clock).claim() == pytest.approx(SPACING_S)
    clock.move(SPACING_S + 0.001)
    assert AttemptLimit(tmp_path / "attempts", clock).claim() == 0.0


def test_a_pause_of_attempts_holds_for_later_runs_too_and_leaves_their_count_alone(
    tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "attempts"
    for _ in range(BURST):
        assert AttemptLimit(path, clock).claim() == 0.0
    AttemptLimit(path, clock).pause(600)
    AttemptLimit(path, clock).pause(5)
    assert AttemptLimit(path, clock).claim() == pytest.approx(600.0)
    clock.step(-86_400)
    assert AttemptLimit(path, clock).claim() == pytest.approx(600.0), "no clock that is set back lengthens it"
    clock.move(600)
    assert AttemptLimit(path, clock).claim() == 0.0


def test_a_count_of_an_earlier_release_is_read(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "attempts"
    for _ in range(BURST):
        AttemptLimit(path, clock).claim()
    path.write_bytes(path.read_bytes()[:8])
    assert AttemptLimit(path, clock).claim() == pytest.approx(SPACING_S)


def test_a_part_can_be_paused_by_itself_for_all(tmp_path: Path, turns: SharedRateLimit, clock: ManualClock) -> None:
    assert turns.of("Trades").paused_s() == 0.0
    assert list(tmp_path.iterdir()) == []
    turns.of("Trades").pause(30)
    other = SharedRateLimit(tmp_path / "turns", clock)
    assert other.of("Trades").paused_s() == pytest.approx(30.0)
    assert (other.of("OHLC").paused_s(), other.claim(1.0)) == (0.0, 0.0)
    clock.move(30)
    assert other.of("Trades").paused_s() == 0.0


@given(st.binary(max_size=40))
def test_damaged_attempts_hold_nobody_up_for_long(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("turns") / "attempts"
    path.write_bytes(content)
    assert 0 <= AttemptLimit(path, ManualClock()).claim() <= LONGEST_PAUSE_S


@given(st.binary(max_size=20))
def test_a_damaged_file_is_begun_anew(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("turns") / "turns"
    path.write_bytes(content)
    turns = SharedRateLimit(path, ManualClock())
    wait_s = turns.claim(1.0)
    assert 0 <= wait_s <= LONGEST_PAUSE_S
    if not wait_s:
        assert turns.claim(1.0) == pytest.approx(1.0)


def test_a_file_that_cannot_be_opened_is_a_disk_error(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(DiskError, match="turns"):
        SharedRateLimit(tmp_path / "gone" / "turns", clock).claim(1.0)


def _claim_many(path: Path, ready: Barrier, got: multiprocessing.SimpleQueue[int]) -> None:
    clock = ManualClock()
    turns = SharedRateLimit(path, clock)
    ready.wait()
    taken = 0
    for _ in range(10_000):
        taken += turns.claim(1e-6) == 0.0
        clock.move(1e-7)
    got.put(taken)


def test_processes_that_race_never_take_the_same_turn(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, got = context.Barrier(2), context.SimpleQueue()
    racing = [context.Process(target=_claim_many, args=(tmp_path / "turns", ready, got)) for _ in range(2)]
    for process in racing:
        process.start()
    counts = [got.get() for _ in racing]
    for process in racing:
        process.join()
    assert sum(counts) <= 1_000  # a turn a microsecond, for the millisecond that both lived through
    assert sum(counts) >= 999
