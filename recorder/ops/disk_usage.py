"""How large the archive is: the files in its folder, and what they take."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.disk import listing
from recorder.errors import UnlistedFolder

_BLOCK: Final = 512
"""What ``st_blocks`` counts in, on every system."""


@dataclass(frozen=True, slots=True)
class Size:
    """Files below a folder, and their bytes on the disk. What has two names is counted once.

    ``unlisted`` are folders that could not be looked into: what lies there is not counted.
    """

    files: int
    size: int
    unlisted: tuple[str, ...] = ()


def measure(folder: Path) -> Size:
    """Count what lies below ``folder``. Blocking.

    What comes or goes meanwhile may count or not; what cannot be looked into (lost+found, say) does not, and is named.
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
