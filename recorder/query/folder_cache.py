"""Folder listings, cached while the folder's mtime proves that no name in it was added or removed.

A directory's mtime changes with every name, and a replaced directory has another inode. But file systems stamp in
ticks, and two changes within one tick have the same time. So a listing is cached only if the folder had this very mtime
well before it was listed: any later change then gets a different one. This does not depend on the clock of the host or
of a file server being right, only on it not standing still and not returning to the same nanosecond.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from recorder import object_store
from recorder.archive.layout import listed
from recorder.disk import check_link, listing
from recorder.object_store import is_address

SETTLED_S: Final = 3.0
"""Longer than the tick of any file system: 2 s on FAT, 1 s on old NFS servers, some milliseconds elsewhere."""

_Mark = tuple[int, int, int, int]


@dataclass(slots=True)
class _Read:
    """The listing of a folder, and the earliest time at which the folder had this mark."""

    mark: _Mark
    marked_s: float
    read_s: float
    content: list[str]


class FolderCache:
    """Lists folders, anew unless nothing can have changed."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic, settled_s: float = SETTLED_S) -> None:
        self._monotonic = monotonic
        self._settled_s = settled_s
        self._known: dict[str, _Read] = {}

    def names(self, directory: str) -> list[str]:
        """Return the names in ``directory``, sorted.

        Raise FileNotFoundError, NotADirectoryError, UnlistedFolder; UnsoundFile for a dangling link.
        """
        return self._remembered(directory, _names)

    def files(self, directory: str) -> list[str]:
        """Return the paths of the Parquet files in ``directory``, all or none: see ``listed``.

        Raise FileNotFoundError if a file was compacted meanwhile.
        """
        return self._remembered(directory, _paths)

    def _remembered(self, directory: str, read: Callable[[str], list[str]]) -> list[str]:
        try:
            with listing(directory):
                return self._known_or(directory, read)
        except FileNotFoundError:
            check_link(directory)
            raise

    def _known_or(self, directory: str, read: Callable[[str], list[str]]) -> list[str]:
        if is_address(directory):  # its listing is known for as long as it may count
            return read(directory)
        before_s = self._monotonic()
        found = os.stat(directory)  # noqa: PTH116 -- called thousands of times
        mark = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        known = self._known.get(directory)
        if known is None or known.mark != mark:
            marked_s = self._monotonic()  # after the stat: this process may have been suspended in between
            known = self._known[directory] = _Read(mark, marked_s, marked_s, read(directory))
        elif known.read_s - known.marked_s < self._settled_s:
            known.content = read(directory)
            known.read_s = before_s
        return known.content


def _names(directory: str) -> list[str]:
    return object_store.names(directory) if is_address(directory) else sorted(os.listdir(directory))  # noqa: PTH208


def _paths(directory: str) -> list[str]:
    return [f"{directory}/{name}" for name in listed(directory)]
