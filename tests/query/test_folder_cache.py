from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.archive.layout import listed
from recorder.query.folder_cache import SETTLED_S, FolderCache
from recorder.query.trade_files import TradeFiles
from tests.archives import START_US, Written, trade, trades
from tests.clocks import ManualClock


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were really read."""
    found: list[str] = []
    original = listed

    def counted(directory: str) -> list[str]:
        found.append(directory)
        return original(directory)

    monkeypatch.setattr("recorder.query.folder_cache.listed", counted)
    return found


def same_time(folder: Path, change: Callable[[], object]) -> None:
    """Change the folder within one tick of its file system: its times stay what they were."""
    before = folder.stat().st_mtime_ns
    change()
    os.utime(folder, ns=(before, before))


def age(data: Path) -> None:
    """Let every folder be old, so that the next change cannot fall into the tick of the last one."""
    for folder in [data, *data.rglob("*/")]:
        os.utime(folder, (0, 0))


def test_a_folder_is_read_again_until_its_time_has_settled_and_then_no_more(
    tmp_path: Path, clock: ManualClock, reads: list[str]
) -> None:
    (tmp_path / "a.parquet").touch()
    folders = FolderCache(monotonic=clock.monotonic)
    looked = []
    for _ in range(6):
        assert folders.files(str(tmp_path)) == [f"{tmp_path}/a.parquet"]
        looked.append(len(reads))
        clock.move(SETTLED_S / 2)
    assert looked == [1, 2, 3, 3, 3, 3]


def test_a_change_within_the_tick_of_the_one_before_is_seen(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").touch()
    kept = tmp_path.stat()
    monkeypatch.setattr(os, "stat", lambda _path: kept)  # its times and inode stay what they were
    monkeypatch.setattr(
        "recorder.query.folder_cache.listed", lambda directory: sorted(path.name for path in Path(directory).iterdir())
    )
    folders = FolderCache(monotonic=clock.monotonic)
    assert folders.files(str(tmp_path)) == [f"{tmp_path}/a.parquet"]
    (tmp_path / "b.parquet").touch()
    clock.move(SETTLED_S / 2)
    assert folders.files(str(tmp_path)) == [f"{tmp_path}/{name}.parquet" for name in "ab"]
    (tmp_path / "c.parquet").touch()
    clock.move(SETTLED_S)
    assert folders.files(str(tmp_path)) == [f"{tmp_path}/{name}.parquet" for name in "abc"]


def test_time_that_passes_while_a_folder_is_looked_at_settles_nothing(
    tmp_path: Path, clock: ManualClock, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.stat

    def slow(path: str) -> os.stat_result:
        clock.move(SETTLED_S * 2)  # the process stood still before it saw the folder's time
        return original(path)

    folders = FolderCache(monotonic=clock.monotonic)
    monkeypatch.setattr("recorder.query.folder_cache.os.stat", slow)
    folders.names(str(tmp_path))
    monkeypatch.undo()
    found = folders._known[str(tmp_path)]
    assert found.read_s == found.marked_s == clock.monotonic()


@pytest.mark.parametrize("change", ["came", "went", "exchanged"])
def test_once_settled_whatever_comes_goes_or_is_exchanged_is_seen(
    archive: Written, clock: ManualClock, reads: list[str], change: str
) -> None:
    archive.append(trades(1, 3))
    archive.append(trades(4, 6))
    age(archive.data)
    folders = FolderCache(monotonic=clock.monotonic)
    listing = TradeFiles(archive.data, folders)
    for _ in range(3):
        listing.paths("BTC/USD")
        clock.move(SETTLED_S)
    reads.clear()
    assert len(listing.paths("BTC/USD")) == 2
    assert reads == []
    if change == "came":
        archive.append(trades(7, 9))
    elif change == "went":
        archive.files()[0].unlink()
    else:
        archive.compact()
    clock.move(SETTLED_S)
    assert listing.paths("BTC/USD") == [str(path) for path in archive.files()]


def test_a_new_pair_and_a_new_year_are_seen(archive: Written, clock: ManualClock) -> None:
    listing = TradeFiles(archive.data, FolderCache(monotonic=clock.monotonic))
    age(archive.data)
    for _ in range(3):
        assert listing.pairs() == []
        assert listing.paths("BTC/USD") == []
        clock.move(SETTLED_S)
    archive.append(trades(1, 3))
    assert listing.pairs() == ["BTC/USD"]
    age(archive.data)
    for _ in range(3):
        assert len(listing.paths("BTC/USD")) == 1
        clock.move(SETTLED_S)
    archive.append([trade(4, START_US + 366 * 86_400_000_000)])
    assert len(listing.paths("BTC/USD")) == 2


def test_a_folder_that_is_gone_is_an_error_and_remembered_by_nobody(tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "year=2025"
    folder.mkdir()
    folders = FolderCache(monotonic=clock.monotonic)
    folders.files(str(folder))
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        folders.files(str(folder))


def test_what_is_remembered_is_right_under_fast_compaction(archive: Written) -> None:
    """Settled after 20 ms, which is longer than the tick here, so that much is remembered while much changes."""
    folders = FolderCache(settled_s=0.02)
    listing = TradeFiles(archive.data, folders)
    done = threading.Event()
    rounds = 300

    def write() -> None:
        for number in range(rounds):
            archive.append(trades(number + 1, number + 1))
            if number % 5 == 4:
                archive.compact()
            done.wait(0.05 if number % 20 == 0 else 0.0)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    least, looks = 0, 0
    while not done.is_set() or looks < 3:
        try:
            held = listing.of(["BTC/USD"])["BTC/USD"].ids
        except FileNotFoundError:
            continue
        assert held.count() == (held.last or 0) >= least, "a row was missed"
        least, looks = held.count(), looks + 1
    writer.join()
    assert listing.of(["BTC/USD"])["BTC/USD"].ids.count() == rounds
