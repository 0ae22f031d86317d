"""How the daemon's process is set up, once, before it records; and how it keeps small."""

from __future__ import annotations

import ctypes
import gc
import os
import pwd
import sys
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa

from recorder.archive.layout import Layout
from recorder.errors import UsageError

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Frames and trades form no cycles, so looking for some every 700 objects, Python's default, is a seventh of the
work of ingest for nothing. Cycles of other origin are few, and still found."""
ARENAS: Final = 2
"""Places that the C library takes memory from. By default each thread has its own, and what is free in it is kept from
all others; ours wait for the disk or for each other, not for memory."""
UMASK: Final = 0o077
"""What this process writes is its user's alone. Where others shall read, a default ACL of the archive's folder says so,
before which the system does not ask for this (acl(5))."""


def prepare() -> None:
    """Keep pandas out, the garbage collector calm, files private, and freed memory in few places."""
    os.umask(UMASK)
    gc.set_threshold(*GC_THRESHOLDS)
    _do_without_pandas()
    if _mallopt is not None:
        _mallopt(_ARENA_MAX, ARENAS)


def release_memory() -> None:
    """Give free memory back to the system; for after work that took much. Blocking, some milliseconds.

    The C library keeps what it freed, for each thread apart, and would keep the peak of every thread for ever: with a
    thousand pairs that is 80 MB. A system without this call returns memory by itself.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


_c_library = ctypes.CDLL(None)
_malloc_trim = getattr(_c_library, "malloc_trim", None)
_mallopt = getattr(_c_library, "mallopt", None)
_ARENA_MAX: Final = -8
"""glibc's name for it, from malloc.h; other C libraries ignore a name that they do not know."""


def as_owner(data: Path) -> None:
    """Raise UsageError where ``data`` is a file, or the archive of another user, who could not read what we write.

    That would end its recorder, at this moment or the next start. What counts is whose a new file is: some mounts give
    all files to one user, whoever writes them. Call it before anything is written.
    """
    if data.is_file():
        raise UsageError(f"{data} is a file, and an archive is a folder: name another")
    layout = Layout(data)
    try:
        with tempfile.TemporaryFile(dir=layout.staging) as probe:
            mine = os.fstat(probe.fileno()).st_uid
        owner = layout.trades.stat().st_uid
    except OSError:
        return  # there is none yet, or it is closed to this user, which is said when it is opened
    if mine != owner:
        raise UsageError(
            f"the archive {data} belongs to {_user(owner)}, who could not read what {_user(mine)} writes there: call "
            f"this as {_user(owner)}, or give it away with chown -R"
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


class _NoPandas:
    """An import hook to which pandas is not installed."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _do_without_pandas() -> None:
    """Make pyarrow look for pandas now and not find it: 60 MB of memory and half a second that no daemon needs.

    pyarrow looks once, when it first meets a list, and remembers the answer.
    """
    hook = _NoPandas()
    sys.meta_path.insert(0, hook)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(hook)
