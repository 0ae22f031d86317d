"""Size of the archive: the number of files in its folder, and their size on disk."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.disk import listing
from recorder.errors import UnlistedFolder

_BLOCK: Final = 512
"""Unit of ``st_blocks`` in bytes, on every system."""


@dataclass(frozen=True, slots=True)
class Size:
    """Number of files below a folder, and their size on disk in bytes. A file with two names is counted once.

    ``unlisted`` are folders that could not be read: files in them are not counted.
    """

    files: int
    size: int
    unlisted: tuple[str, ...] = ()


def measure(folder: Path) -> Size:
    """Measure the files below ``folder``. Blocking.

    Files created or removed meanwhile may be counted or not; folders that cannot be read (lost+found, for example) are
    not counted, but named.
    """
    seen: set[int] = set()
    unlisted: list[str] = []
    size = 0
    waiting = [str(folder)]
    while waiting:
        path = waiting.pop()
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), listing(path), os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    with contextlib.suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        if found.st_ino not in seen:
                            seen.add(found.st_ino)
                            size += found.st_blocks * _BLOCK
        except UnlistedFolder:
            unlisted.append(path)
    return Size(len(seen), size, tuple(sorted(unlisted)))
