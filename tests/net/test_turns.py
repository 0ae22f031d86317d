from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.pacing import LONGEST_PAUSE_S
from recorder.errors import DiskError
from recorder.net.turns import Turns

NOW_NS = 1_783_465_205_562_702_999


def test_those_who_take_turns_through_one_file_go_one_after_the_other(tmp_path: Path) -> None:
    one, other = Turns(tmp_path / "turns"), Turns(tmp_path / "turns")
    assert one.claim(NOW_NS, 1.0) == 0.0
    assert other.claim(NOW_NS + 400_000_000, 1.0) == pytest.approx(0.6)
    assert other.claim(NOW_NS + 1_000_000_000, 2.0) == 0.0
    assert one.claim(NOW_NS + 1_000_000_001, 1.0) == pytest.approx(2.0)


def test_who_comes_a_little_late_does_not_delay_those_after_him_but_a_rest_buys_nothing(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "turns")
    assert turns.claim(NOW_NS, 1.0) == 0.0
    assert turns.claim(NOW_NS + 1_300_000_000, 1.0) == 0.0
    assert turns.claim(NOW_NS + 1_300_000_000, 1.0) == pytest.approx(0.7)
    assert turns.claim(NOW_NS + 9_000_000_000, 1.0) == 0.0
    assert turns.claim(NOW_NS + 9_000_000_000, 1.0) == pytest.approx(1.0)


def test_a_pause_holds_for_all_and_is_never_shortened(tmp_path: Path) -> None:
    one, other = Turns(tmp_path / "turns"), Turns(tmp_path / "turns")
    one.pause(NOW_NS + 30_000_000_000)
    one.pause(NOW_NS + 5_000_000_000)
    assert other.claim(NOW_NS, 1.0) == pytest.approx(30.0)
    assert other.claim(NOW_NS + 30_000_000_000, 1.0) == 0.0


def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_hours(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "turns")
    assert turns.claim(NOW_NS, 1.0) == 0.0
    assert turns.claim(NOW_NS - int(2 * LONGEST_PAUSE_S * 1e9), 1.0) == 0.0


@given(st.binary(max_size=20))
def test_a_damaged_file_is_begun_anew(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("turns") / "turns"
    path.write_bytes(content)
    turns = Turns(path)
    wait_s = turns.claim(NOW_NS, 1.0)
    assert 0 <= wait_s <= LONGEST_PAUSE_S
    if not wait_s:
        assert turns.claim(NOW_NS, 1.0) == pytest.approx(1.0)


def test_a_file_that_cannot_be_opened_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="turns"):
        Turns(tmp_path / "gone" / "turns").claim(NOW_NS, 1.0)


def _claim_many(path: Path, ready: Barrier, got: multiprocessing.SimpleQueue[int]) -> None:
    turns = Turns(path)
    ready.wait()
    got.put(sum(turns.claim(NOW_NS + step, 1e-6) == 0.0 for step in range(0, 1_000_000, 100)))


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
