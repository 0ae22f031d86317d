from __future__ import annotations

import os
from pathlib import Path

import pytest

from recorder.ops.disk_usage import measure


def test_files_are_counted_once_whatever_their_names_and_links_out_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "one").write_bytes(b"x" * 100_000)
    (folder / "a" / "b" / "two").write_bytes(b"y")
    (folder / "a" / "b" / "again").hardlink_to(folder / "a" / "one")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(b"z" * 1_000_000)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    size = measure(folder)
    assert size.files == 3  # the link itself is one
    assert 100_000 <= size.size < 300_000


def test_a_folder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone").files == 0


def test_a_folder_that_cannot_be_listed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").touch()
    (tmp_path / "lost+found").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = measure(tmp_path)
    assert (found.files, found.unlisted) == (1, (str(tmp_path / "lost+found"),))
