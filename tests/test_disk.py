from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from recorder import disk as module
from recorder.disk import ASIDE, Disk, room, sync_for_reading, undisturbed
from recorder.errors import DiskError, StorageError


@pytest.fixture
def disk() -> Disk:
    return Disk()


def refuse(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def written(disk: Disk, path: Path, content: bytes) -> Path:
    with disk.create(path) as file:
        disk.write(file, content)
    return path


def test_a_new_file_never_overwrites_one_that_is_there(tmp_path: Path, disk: Disk) -> None:
    written(disk, tmp_path / "a", b"old")
    with pytest.raises(DiskError, match=r"^cannot create .*/a: File exists$"):
        disk.create(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_write_that_the_system_takes_in_parts_is_written_whole(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:3]))
    written(disk, tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_an_open_file_is_cut_and_extended(tmp_path: Path, disk: Disk) -> None:
    written(disk, tmp_path / "a", b"whole\nto")
    with disk.open_append(tmp_path / "a") as file:
        disk.truncate(file, 6)
        disk.sync(file)
    assert (tmp_path / "a").read_bytes() == b"whole\n"


def test_each_missing_directory_is_durable_in_its_parent_before_the_next_is_made_in_it(tmp_path: Path) -> None:
    calls: list[str] = []

    class Told(Disk):
        def add_dir(self, path: Path) -> None:
            super().add_dir(path)
            calls.append(f"made {path.name}")

        def sync_dir(self, path: Path) -> None:
            calls.append(f"synced {path.name}")

    (tmp_path / "there").mkdir()
    Told().make_dir(tmp_path / "there" / "a" / "b")
    assert calls == [f"synced {tmp_path.name}", "made a", "synced there", "made b", "synced a"]
    calls.clear()
    Told().make_dir(tmp_path / "there" / "a" / "b")
    assert calls == ["synced a"], "who made it may have died before the name was durable"


def test_a_directory_in_a_folder_that_is_not_ours_is_taken_as_it_is(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Disk, "sync_dir", refuse)
    disk.make_dir(tmp_path)


def test_two_directories_are_exchanged_names_and_all(tmp_path: Path, disk: Disk) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"from {name}").touch()
    disk.exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "from other").exists()
    assert (tmp_path / "other" / "from one").exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_where_nothing_can_be_exchanged_renames_do_it(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(module, "_exchange", lambda *_: code)
    test_two_directories_are_exchanged_names_and_all(tmp_path, disk)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "other"}


def test_a_refused_exchange_is_no_reason_for_renames(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exchange", lambda *_: errno.EIO)
    monkeypatch.setattr(Disk, "rename", refuse)
    with pytest.raises(DiskError, match=r"^cannot exchange .* and .*: Input/output error$"):
        disk.exchange(tmp_path / "one", tmp_path / "other")


def test_renames_cut_in_the_middle_leave_the_replaced_directory_whole_and_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_exchange", lambda *_: errno.ENOSYS)

    class Once(Disk):
        def rename(self, old: Path, new: Path) -> None:
            if old.name == "one":
                raise DiskError("cut here")
            super().rename(old, new)

    for path in (tmp_path / "staged" / "one", tmp_path / "table" / "other"):
        path.mkdir(parents=True)
        (path / path.name).touch()
    with pytest.raises(DiskError):
        Once().exchange(tmp_path / "staged" / "one", tmp_path / "table" / "other")
    assert (tmp_path / "staged" / f"other{ASIDE}" / "other").exists()


Refused = Callable[[Disk, Path, Any], object]
REFUSALS: dict[str, tuple[str, str, Refused]] = {
    "write": ("os.write", "write to", lambda disk, _, file: disk.write(file, b"x")),
    "sync": ("recorder.disk._fdatasync", "sync", lambda disk, _, file: disk.sync(file)),
    "truncate": ("os.ftruncate", "truncate", lambda disk, _, file: disk.truncate(file, 0)),
    "sync_dir": ("os.fsync", "sync the directory", lambda disk, path, _: disk.sync_dir(path)),
    "add_dir": ("pathlib.Path.mkdir", "create the directory", lambda disk, path, _: disk.add_dir(path / "new")),
    "make_dir": ("pathlib.Path.is_dir", "create the directory", lambda disk, path, _: disk.make_dir(path / "new")),
    "rename": ("pathlib.Path.rename", "rename", lambda disk, path, _: disk.rename(path, path / "b")),
    "link": ("os.link", "link", lambda disk, path, _: disk.link(path, path / "b")),
    "unlink": ("pathlib.Path.unlink", "remove", lambda disk, path, _: disk.unlink(path / "a")),
    "remove_tree": ("shutil.rmtree", "remove", lambda disk, path, _: disk.remove_tree(path)),
    "open_append": ("recorder.disk._File", "open", lambda disk, path, _: disk.open_append(path / "a")),
    "create": ("recorder.disk._File", "create", lambda disk, path, _: disk.create(path / "b")),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_system_refuses_is_told_in_one_sentence(
    name: str, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, words, call = REFUSALS[name]
    with disk.create(tmp_path / "a") as file, monkeypatch.context() as patch:
        patch.setattr(function, refuse)
        with pytest.raises(DiskError, match=f"^cannot {words} .*{tmp_path.name}.*: Input/output error$"):
            call(disk, tmp_path, file)


def test_what_is_read_counts_only_if_it_could_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb") as file:
        sync_for_reading(file)
        monkeypatch.setattr(module, "_fdatasync", refuse)
        with pytest.raises(DiskError, match=r"^cannot sync .*/a: Input/output error$"):
            sync_for_reading(file)


def test_on_a_read_only_mount_what_is_there_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(_: int) -> NoReturn:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(module, "_fdatasync", read_only)
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb") as file:
        sync_for_reading(file)


def test_room_is_what_may_still_be_written_and_what_there_is(tmp_path: Path) -> None:
    found, asked = room(tmp_path), os.statvfs(tmp_path)
    assert 0 <= found.free <= found.total == asked.f_blocks * asked.f_frsize
    with pytest.raises(DiskError, match=r"^cannot see how much room is left at .*/nowhere: No such file or directory$"):
        room(tmp_path / "nowhere")


def test_what_is_taken_away_meanwhile_is_looked_at_again_but_not_for_ever() -> None:
    taken_away = [FileNotFoundError(), FileNotFoundError()]

    def look() -> str:
        if taken_away:
            raise taken_away.pop()
        return "seen"

    def never() -> None:
        raise FileNotFoundError("a.parquet is gone")

    assert undisturbed(look, "the files of BTC/USD") == "seen"
    with pytest.raises(StorageError, match=r"^the files of BTC/USD keep changing .* be read: a\.parquet is gone$"):
        undisturbed(never, "the files of BTC/USD")


def test_a_file_that_cannot_be_closed_is_a_sentence_too(tmp_path: Path, disk: Disk) -> None:
    existing = written(disk, tmp_path / "b", b"")
    for file in (disk.create(tmp_path / "a"), disk.open_append(existing)):
        os.close(file.fileno())
        with pytest.raises(DiskError, match=r"^cannot close .*/[ab]: Bad file descriptor$"):
            file.close()
    with disk.create(tmp_path / "c") as file:
        assert file.name == tmp_path / "c"
    assert file.closed


def test_a_disk_without_inodes_is_told_from_one_without_room(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(module, "_File", full)
    monkeypatch.setattr(Path, "mkdir", full)
    statvfs = os.statvfs
    for left, said in (
        (0, r"No space left on device: no inode is left, .* \(df -i\)$"),
        (9, "No space left on device$"),
    ):
        monkeypatch.setattr(os, "statvfs", lambda path, left=left: _Nodes(statvfs(path), left))
        with pytest.raises(DiskError, match=said):
            disk.create(tmp_path / "a")
        with pytest.raises(DiskError, match=said):
            disk.add_dir(tmp_path / "b")


class _Nodes:
    def __init__(self, found: os.statvfs_result, left: int) -> None:
        self.f_files, self.f_favail, self.f_bavail, self.f_frsize = 1000, left, found.f_bavail, found.f_frsize
