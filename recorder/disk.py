"""Durable file operations: the only module that changes files on disk.

Every change goes through a :class:`Disk`, so that a test can simulate a power cut at each call, and so that an error of
the operating system becomes one sentence with an exit code. Reading needs no such care.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from recorder import object_store
from recorder.errors import DiskError, StorageError, UnlistedFolder, UnsoundFile
from recorder.object_store import is_address

# macOS has no fdatasync; fsync does all that it does and a little more.
_fdatasync = getattr(os, "fdatasync", os.fsync)

_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # macOS sys/stdio.h
_AT_FDCWD = -100
_UNABLE = frozenset((errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP))
"""Error numbers of systems and file systems that cannot swap two names."""
_UNSYNCABLE = frozenset((errno.EROFS, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP))
"""Error numbers of a file that cannot be synced at all, in contrast to a sync that failed."""

ASIDE = ".aside"
"""Suffix of the directory that is being replaced where two directories cannot be swapped in one step."""
_ATTEMPTS: Final = 50
"""A folder is compacted, a segment drained, every few minutes; this many conflicts in a row are no coincidence."""

_Seen = TypeVar("_Seen")


class _File(io.FileIO):
    """A file that also reports errors on closing: on some mounts only closing reveals a full or unreachable disk."""

    def close(self) -> None:
        with _says(f"cannot close {self.name}"):
            super().close()


class Disk:
    """The real disk. :meth:`sync` makes content durable, :meth:`sync_dir` makes names durable."""

    def create(self, path: Path) -> BinaryIO:
        """Create a new file for writing; it must not exist yet. The name is durable after :meth:`sync_dir`."""
        with _says(f"cannot create {path}"):
            return _File(path, "xb")

    def open_append(self, path: Path) -> BinaryIO:
        """Open an existing file to cut or extend it."""
        with _says(f"cannot open {path}"):
            return _File(path, "r+b")

    def write(self, file: BinaryIO, content: bytes | memoryview) -> None:
        """Write all of ``content``, or raise with an unknown part of it written."""
        with _says(f"cannot write to {file.name}"):
            view = memoryview(content).cast("B")
            while view:
                view = view[os.write(file.fileno(), view) :]

    def sync(self, file: BinaryIO) -> None:
        """Return once the content of ``file`` is on the disk."""
        with _says(f"cannot sync {file.name}"):
            _fdatasync(file.fileno())

    def stamp(self, file: BinaryIO, time_s: float) -> None:
        """Set the modification time of ``file``, in seconds since 1970, independent of the host's clock."""
        with _says(f"cannot set the time of {file.name}"):
            os.utime(file.fileno(), (time_s, time_s))

    def truncate(self, file: BinaryIO, size: int) -> None:
        """Cut ``file`` to ``size`` bytes."""
        with _says(f"cannot truncate {file.name}"):
            os.ftruncate(file.fileno(), size)

    def sync_dir(self, path: Path) -> None:
        """Return once the names in the directory ``path`` are on the disk."""
        with _says(f"cannot sync the directory {path}"):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def make_dir(self, path: Path) -> None:
        """Create the directory ``path`` and its missing parents, each durable in its parent.

        An existing directory is made durable too: the process that created it may have died before the sync. Only the
        last one can be in that state, because each is synced before the next is created in it.
        """
        missing = []
        with _says(f"cannot create the directory {path}"):
            there = path
            while not there.is_dir():
                missing.append(there)
                there = there.parent
            # A directory without write permission is not one in which we created a name.
            ours = os.access(there.parent, os.W_OK)
        if ours:
            self.sync_dir(there.parent)
        for new in reversed(missing):
            self.add_dir(new)
            self.sync_dir(new.parent)

    def add_dir(self, path: Path) -> None:
        """Create one directory, unless it exists. Durable after :meth:`sync_dir` of its parent."""
        with _says(f"cannot create the directory {path}"):
            path.mkdir(exist_ok=True)

    def rename(self, old: Path, new: Path) -> None:
        """Rename ``old`` to ``new`` in one step. Durable after :meth:`sync_dir` of both directories."""
        with _says(f"cannot rename {old} to {new}"):
            old.rename(new)

    def link(self, existing: Path, new: Path) -> None:
        """Give the file ``existing`` a second name."""
        with _says(f"cannot link {new} to {existing}"):
            os.link(existing, new)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        with _says(f"cannot remove {path}"):
            path.unlink()

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and its content."""
        with _says(f"cannot remove {path}"):
            shutil.rmtree(path)

    def exchange(self, one: Path, other: Path) -> None:
        """Swap two directories of one file system, so that a reader always finds one of the two.

        Durable after :meth:`sync_dir` of both parents. If the system or the file system cannot do it in a single step
        (neither Linux nor macOS, or some network mounts), it is done by renames, and ``other`` is missing briefly.
        After a crash at that point, it is beside ``one``, under its name and ``ASIDE``.
        """
        if self.swap(one, other):
            return
        aside = one.with_name(other.name + ASIDE)
        self.rename(other, aside)
        self.sync_dir(aside.parent)
        self.sync_dir(other.parent)
        self.rename(one, other)
        self.sync_dir(other.parent)
        self.rename(aside, one)

    def swap(self, one: Path, other: Path) -> bool:
        """Swap two directories in a single step; return False, with nothing changed, if this system cannot."""
        with _says(f"cannot exchange {one} and {other}"):
            code = _exchange(one, other)
            if code in _UNABLE:
                return False
            if code:
                raise OSError(code, os.strerror(code), str(one))
            return True


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of a file system: free for this user, and total."""

    free: int
    total: int


def room(path: Path) -> Room:
    """Return the free and total bytes of the file system at ``path``. Raises DiskError."""
    with _says(f"cannot see how much room is left at {path}"):
        found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def sync_for_reading(file: BinaryIO) -> None:
    """Make what was read from ``file`` durable, so that a reader never counts what a power cut could undo.

    A read-only mount cannot be synced, but its content was mounted, not just written. Raises DiskError if syncing
    failed.
    """
    try:
        _fdatasync(file.fileno())
    except OSError as error:
        if error.errno not in _UNSYNCABLE:
            raise DiskError(f"cannot sync {file.name}: {error.strerror or error}") from error


def names_in(folder: Path | str) -> list[str]:
    """Return the names in ``folder``, sorted; none if the folder does not exist.

    Raises UnlistedFolder if it cannot be listed, because that is not empty; UnsoundFile for a broken link.
    """
    with listing(folder), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return object_store.names(folder) if is_address(folder) else sorted(os.listdir(folder))  # noqa: PTH208 -- names
    check_link(folder)
    return []


def folders_in(folder: Path | str) -> list[str]:
    """Return the names of the folders in ``folder``, sorted, and of broken links that may have led to some.

    Raises as :func:`names_in` does.
    """
    with listing(folder), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if is_address(folder):
            return object_store.folders(folder)
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _may_be_folder(entry))
    check_link(folder)
    return []


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # opening it later raises the reason
        return True


@contextlib.contextmanager
def listing(folder: Path | str) -> Iterator[None]:
    """Turn any error of listing a folder into an UnlistedFolder, except that it does not exist."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UnlistedFolder(folder, error.strerror or str(error)) from error


def check_link(path: Path | str) -> None:
    """Raise UnsoundFile if ``path``, which does not exist, is a broken link."""
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 -- text as often as a path
        problem = f"is a link to {os.readlink(path)}, which is not there"  # noqa: PTH115
        raise UnsoundFile(path, problem, "bring back what it leads to, maybe a disk to be mounted, or remove the link")


def undisturbed(look: Callable[[], _Seen], of: str) -> _Seen:
    """Return the result of ``look`` from a call during which no file was removed, by a compaction or a drain.

    A FileNotFoundError means that one was removed; then ``look`` is called again. Raises StorageError, which names the
    files (``of``) and the last missing one, if that never ends.
    """
    missing = FileNotFoundError()
    for _ in range(_ATTEMPTS):
        try:
            return look()
        except FileNotFoundError as error:
            missing = error
    raise StorageError(f"{of} keep changing faster than they can be read: {missing}") from missing


@contextlib.contextmanager
def _says(sentence: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{sentence}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Return the system's message; for a full disk, whether space or inodes are used up."""
    reason = error.strerror or str(error)
    if (
        error.errno == errno.ENOSPC
        and error.filename is not None
        and _is_out_of_inodes(Path(os.fsdecode(error.filename)))
    ):
        return f"{reason}: no inode is left, however much room there is (df -i)"
    return reason


def _is_out_of_inodes(path: Path) -> bool:
    with contextlib.suppress(OSError):
        found = os.statvfs(path.parent)
        return found.f_files > 0 and found.f_favail == 0
    return False


def _exchange(one: Path, other: Path) -> int:
    """Return 0, or the error number."""
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        function = getattr(libc, "renamex_np", None)
        done = function(first, second, _RENAME_SWAP) if function else None
    else:
        function = getattr(libc, "renameat2", None)
        done = function(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) if function else None
    if done is None:
        return errno.ENOSYS
    return 0 if done == 0 else ctypes.get_errno()
