"""Advisory locks for writers, private staging folders, and recovery of what dead processes left behind.

Staged files are garbage once their process has ended, except between the renames that replace an atomic exchange: see
:func:`recover`. Readers take no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from recorder.archive.datasets import Branch, Dataset, branch_named
from recorder.archive.layout import Layout
from recorder.disk import ASIDE, Disk, folders_in, listing, names_in
from recorder.errors import ArchiveInUse, DiskError, UnlistedFolder

_LOCK: Final = ".lock"
_TABLE: Final = Path("/proc/locks")
_ATTEMPTS: Final = 100
"""Number of times that a lock file may be removed while it is awaited. Only locks of staging folders are removed."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold an advisory lock, which the system releases if the process dies.

    Raises ArchiveInUse if another process holds it.
    """
    with contextlib.ExitStack() as held:
        # A lock file that was removed while it was awaited no longer locks anything.
        for _ in range(_ATTEMPTS):
            handle = held.enter_context(_opened(path, os.O_RDWR | os.O_CREAT))
            _lock(handle, path, wait=wait)
            if _is_still(path, handle):
                break
            held.pop_all().close()
        else:
            raise DiskError(f"the lock {path} is removed as often as it is made")
        yield


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of the only recorder of an archive. Raises ArchiveInUse if another process holds it.

    The lock file can be removed while it is held, and the next recorder would create another. So its folder, the
    archive, is locked too, if the file system can lock folders; NFS cannot.
    """
    with hold(path), _opened(path.parent, os.O_RDONLY | os.O_DIRECTORY) as folder:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveInUse(f"{path.parent} is locked by another process") from error
        except OSError:  # then only the file is locked
            pass
        yield


def is_held(path: Path) -> bool:
    """Return whether a process is seen to hold a lock. It is not touched: who takes it now must not be refused.

    Only Linux lists locks, and not those of other hosts; False also where nothing is known.
    """
    try:
        found, listed = path.stat(), _TABLE.read_text()
    except OSError:
        return False
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return any(place in line.split() for line in listed.splitlines())


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    try:
        handle = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskError(f"cannot open the lock {path}: {error.strerror}") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, path: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ArchiveInUse(f"{path} is locked by another process") from error
    except OSError as error:
        raise DiskError(f"cannot lock {path}: {error.strerror}; locks are needed, on every mount") from error


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def branch_lock(layout: Layout, branch: Branch, *, wait: bool = True) -> Iterator[None]:
    """Hold the write lock of ``branch``, waiting for the process that holds it."""
    with hold(layout.locks / f"{branch.name}{_LOCK}", wait=wait):
        yield


@contextlib.contextmanager
def writing(layout: Layout, disk: Disk, branch: Branch) -> Iterator[None]:
    """Hold the branch's lock after recovering from an interrupted compaction, so that no file can vanish."""
    with branch_lock(layout, branch):
        recover(layout, disk, branch)
        yield


@contextlib.contextmanager
def staging(layout: Layout, disk: Disk) -> Iterator[Path]:
    """Yield a private folder for this process on the archive's file system, and remove it afterwards."""
    private = layout.staging / uuid.uuid4().hex
    with contextlib.ExitStack() as held:
        # A sweep must never find a lock file that is created but not locked yet.
        with hold(_sweep_lock(layout), wait=True):
            held.enter_context(hold(private.with_suffix(_LOCK)))
            disk.make_dir(private)
        try:
            yield private
        finally:
            # Garbage by definition; if this fails, the next start removes it.
            shutil.rmtree(private, ignore_errors=True)
            with contextlib.suppress(OSError):
                private.with_suffix(_LOCK).unlink()


def sweep_staging(layout: Layout, disk: Disk, tables: Collection[Dataset] | None = None) -> None:
    """Remove what ended processes left in staging; what a running process has locked stays.

    Interrupted compactions are recovered of these ``tables`` only, of all by default. Raises UnlistedFolder, and
    DiskError.
    """
    with hold(_sweep_lock(layout), wait=True):
        for lock in (layout.staging / name for name in names_in(layout.staging) if name.endswith(_LOCK)):
            with contextlib.suppress(ArchiveInUse), hold(lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        for folder in (layout.staging / name for name in folders_in(layout.staging)):
            if folder != layout.exchange and not folder.with_suffix(_LOCK).exists():
                shutil.rmtree(folder, ignore_errors=True)
    named = (branch_named(name) for name in names_in(layout.exchange))
    left = (branch for branch in named if branch is not None)
    recover_all(layout, disk, (branch for branch in left if tables is None or branch.dataset in tables))


def recover_all(layout: Layout, disk: Disk, branches: Iterable[Branch]) -> None:
    """Recover the branches that no other process has locked. Unlistable ones are left to their writers."""
    for branch in branches:
        with contextlib.suppress(ArchiveInUse, UnlistedFolder), branch_lock(layout, branch, wait=False):
            recover(layout, disk, branch)


def recover(layout: Layout, disk: Disk, branch: Branch) -> None:
    """Finish or undo an interrupted compaction of ``branch``. The caller holds the branch's lock.

    If it was interrupted between the renames that replace an exchange, a leaf has a temporary name and gets its own
    back. All other remains are garbage, but only once the names in the table are durable: until then, the files that
    were exchanged out may be the only ones to survive a power failure. Raises UnlistedFolder, DiskError.
    """
    left, home = layout.built(branch), layout.home(branch)
    with listing(left.parent):
        if not left.is_dir():
            return
    asides = [left / name for name in names_in(left) if name.endswith(ASIDE)]
    with listing(home):  # a year that cannot be reached has not lost its name
        lost = [aside for aside in asides if not (home / aside.stem).exists()]
        there = home.is_dir()
    for aside in lost:
        disk.rename(aside, home / aside.stem)
    if there:
        disk.sync_dir(home)
    disk.remove_tree(left)


def _sweep_lock(layout: Layout) -> Path:
    return layout.locks / "sweep.lock"
