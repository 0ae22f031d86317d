from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from recorder.archive import locks
from recorder.archive.compaction import compact
from recorder.archive.datasets import TRADES, Branch
from recorder.archive.layout import SUFFIX, Layout
from recorder.archive.open_archive import create
from recorder.disk import ASIDE
from recorder.errors import ArchiveInUse, DiskError, UnlistedFolder
from tests.archive.rows import PAIR, archive, ids, trades
from tests.end_to_end.harness import denied
from tests.powercut import PowerCut, PowerLoss, Unsynced

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from recorder.archive import locks
from recorder.archive.layout import Layout
from recorder.archive.datasets import TRADES, Branch
from recorder.archive.open_archive import create
from recorder.disk import Disk
layout = Layout(Path(sys.argv[1]))
create(layout, Disk())
branch = Branch(TRADES, "BTC/USD")
with locks.alone(layout.lock), locks.branch_lock(layout, branch), locks.staging(layout, Disk()) as private:
    (private / "half written").touch()
    print(private, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    create(made, Unsynced())
    return made


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists locks")
def test_a_lock_is_seen_to_be_held_without_being_taken(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not locks.is_held(path)
    with locks.alone(path):
        assert locks.is_held(path)
    assert not locks.is_held(path)
    with locks.alone(path):  # looking has left no lock behind
        pass


def test_a_lock_is_held_by_one_and_free_again_afterwards(layout: Layout) -> None:
    for _ in range(2):
        with locks.hold(layout.lock), pytest.raises(ArchiveInUse, match="locked by another process"):
            locks.hold(layout.lock).__enter__()


def test_a_lock_that_cannot_be_opened_is_the_disks_fault(layout: Layout) -> None:
    with pytest.raises(DiskError, match="cannot open the lock"), locks.hold(layout.data / "nowhere" / "lock"):
        pass


def test_one_recorder_has_the_archive_even_if_its_lock_was_removed(layout: Layout) -> None:
    for _ in range(2):
        with locks.alone(layout.lock):
            layout.lock.unlink()
            for _ in range(2):  # the first made another file
                with pytest.raises(ArchiveInUse, match="locked by another process"):
                    locks.alone(layout.lock).__enter__()
    with locks.alone(layout.lock):
        layout.lock.rename(layout.data / ".lock.old")
        with pytest.raises(ArchiveInUse):
            locks.alone(layout.lock).__enter__()


def test_where_folders_cannot_be_locked_the_file_is(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock

    def as_on_nfs(handle: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    with locks.alone(layout.lock), pytest.raises(ArchiveInUse):
        locks.alone(layout.lock).__enter__()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_taken_anew(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removed = fcntl.flock, list[int]()

    def removing(handle: int, how: int) -> None:
        flock(handle, how)
        if len(removed) < 3:
            removed.append(os.fstat(handle).st_ino)
            layout.lock.unlink()

    monkeypatch.setattr(fcntl, "flock", removing)
    with locks.hold(layout.lock, wait=True):
        assert len(removed) == 3
        with pytest.raises(ArchiveInUse):
            locks.hold(layout.lock).__enter__()
    removed.extend(range(-1000, -3))
    monkeypatch.setattr(locks, "_is_still", lambda *_: False)
    with pytest.raises(DiskError, match="removed as often as it is made"):
        locks.hold(layout.lock).__enter__()


def test_what_a_living_process_holds_and_stages_stays_until_it_is_killed(layout: Layout) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(layout.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with holder:
        try:
            assert holder.stdout is not None
            private = Path(holder.stdout.readline().strip())
            locks.sweep_staging(layout, Unsynced())
            assert (private / "half written").exists()
            with pytest.raises(ArchiveInUse), locks.hold(layout.lock):
                pass
            with pytest.raises(ArchiveInUse), locks.branch_lock(layout, Branch(TRADES, PAIR), wait=False):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        with locks.alone(layout.lock), locks.branch_lock(layout, Branch(TRADES, PAIR), wait=False):
            pass
        assert private.exists()
        locks.sweep_staging(layout, Unsynced())
        assert [path.name for path in layout.staging.iterdir()] == ["exchange"]


def test_a_folder_in_staging_without_a_lock_is_rubbish(layout: Layout) -> None:
    (layout.staging / "left" / "deep").mkdir(parents=True)
    with locks.staging(layout, Unsynced()) as living:
        locks.sweep_staging(layout, Unsynced())
        assert living.exists()
    assert [path.name for path in layout.staging.iterdir()] == ["exchange"]


def test_a_private_folder_goes_when_its_process_is_done_even_by_an_error(layout: Layout) -> None:
    def use() -> None:
        with locks.staging(layout, Unsynced()) as private:
            (private / "half written").touch()
            raise DiskError("full")

    with pytest.raises(DiskError):
        use()
    assert [path.name for path in layout.staging.iterdir()] == ["exchange"]


def merge_cut_between_renames(data: Path) -> None:
    """Leave a year of PAIR aside, as a process that died between the renames does."""
    with archive(data, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 2))
        opened.append(PAIR, trades(3, 4))
        opened.disk = PowerCut(data, can_swap=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PowerCut, "rename", _first_only)
            with pytest.raises(PowerLoss):
                compact(opened, PAIR, today=date(9999, 1, 1))


def _first_only(disk: PowerCut, old: Path, new: Path) -> None:
    if not new.name.endswith((ASIDE, SUFFIX)):
        raise PowerLoss
    Unsynced.rename(disk, old, new)


def test_a_year_left_aside_gets_its_name_back_at_the_next_start(layout: Layout) -> None:
    merge_cut_between_renames(layout.data)
    assert ids(layout.data) == []
    locks.sweep_staging(layout, Unsynced())
    assert ids(layout.data) == [1, 2, 3, 4]
    assert not list(layout.exchange.iterdir())


def test_a_process_that_runs_already_finds_a_year_left_aside_before_it_appends(layout: Layout) -> None:
    with archive(layout.data, Unsynced()) as running:
        merge_cut_between_renames(layout.data)
        running.append(PAIR, trades(2, 5))
    assert ids(layout.data) == [1, 2, 3, 4, 5]


def test_a_merge_that_another_process_is_at_is_left_alone(layout: Layout) -> None:
    built = layout.built(Branch(TRADES, PAIR)) / "year=2025"
    built.mkdir(parents=True)
    with locks.branch_lock(layout, Branch(TRADES, PAIR)):
        locks.sweep_staging(layout, Unsynced())
        assert built.exists()
    locks.sweep_staging(layout, Unsynced())
    assert not built.exists()


def test_what_nobody_may_list_is_not_taken_for_empty(layout: Layout) -> None:
    merge_cut_between_renames(layout.data)
    branch = Branch(TRADES, PAIR)
    for folder in (layout.built(branch), layout.exchange, layout.staging, layout.pair_dir(PAIR)):
        with denied(folder):
            if folder.name == layout.pair_dir(PAIR).name:  # one pair's damage does not keep the others from a start
                locks.sweep_staging(layout, Unsynced())
            else:
                with pytest.raises(UnlistedFolder, match=str(folder)):
                    locks.sweep_staging(layout, Unsynced())
            with pytest.raises(UnlistedFolder, match=str(folder)), locks.writing(layout, Unsynced(), branch):
                pass
    locks.sweep_staging(layout, Unsynced())
    assert ids(layout.data) == [1, 2, 3, 4]
