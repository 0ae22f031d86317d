"""Setup of the daemon's process before it records, and release of its free memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pwd
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa

from recorder.archive.layout import Layout
from recorder.errors import UsageError

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Frames and trades form no cycles, so searching for cycles every 700 objects, Python's default, wastes a seventh of
the work of ingest. Cycles of other origin are few, and still found."""
ARENAS: Final = 2
"""Memory arenas of the C library. By default each thread has its own, and memory free in one is not available to
others; our threads wait for the disk or for each other, not for memory."""
NICENESS: Final = 10
"""Of 19, the lowest priority: an eleventh of the CPU of a busy process of usual priority, and all that is left."""
_OOM_SCORE: Final = Path("/proc/self/oom_score_adj")
UMASK: Final = 0o077
"""Files written by this process are private to its user. If others shall read them, set a default ACL on the archive's
folder: it takes precedence over the umask (acl(5))."""


def prepare() -> None:
    """Keep pandas out, run garbage collection rarely, make files private, and limit memory arenas."""
    os.umask(UMASK)
    gc.set_threshold(*GC_THRESHOLDS)
    gc.freeze()  # what is loaded stays: no collection looks at it again, nor does the interpreter as it ends
    _do_without_pandas()
    if _mallopt is not None:
        _mallopt(_ARENA_MAX, ARENAS)


def give_way() -> None:
    """Let other processes go first, as far as the system allows: with the CPU and, as Linux derives it, the disk.

    If memory runs out, Linux kills this process first.
    """
    with contextlib.suppress(OSError):  # a sandbox may refuse what can be done without
        os.nice(NICENESS)
    with contextlib.suppress(OSError):
        _OOM_SCORE.write_text("500", encoding="ascii")


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends, however that ends: Linux can, others ignore it.

    The parent is meant whose thread began this process; call it at once, and then look whether it is still there.
    """
    prctl = getattr(_c_library, "prctl", None)
    if prctl is not None:
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def no_core() -> None:
    """Let the system write no core dump of this process, nor of those that it begins."""
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):  # a service may not be allowed to set what it is given
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_secrets() -> None:
    """Let this process leave no picture of its memory: no core dump, and no debugger of the same user.

    A limit of 0 alone does not keep a core from a program that the system pipes it to, such as systemd-coredump
    (core(5)); not being dumpable does, and also hides the environment from other processes of the user.
    """
    no_core()
    prctl = getattr(_c_library, "prctl", None)
    if prctl is not None:
        prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def release_memory() -> None:
    """Return free memory to the system, after work that used much. Blocking, some milliseconds.

    The C library keeps freed memory separately for each thread, and would keep the peak of every thread for ever: with
    a thousand pairs that is 80 MB. A system without this call returns memory by itself.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


_c_library = ctypes.CDLL(None)
_malloc_trim = getattr(_c_library, "malloc_trim", None)
_mallopt = getattr(_c_library, "mallopt", None)
_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_DUMPABLE: Final = 4
"""Values of Linux's constants, from sys/prctl.h."""
_ARENA_MAX: Final = -8
"""Value of glibc's constant, from malloc.h; other C libraries ignore unknown values."""


def as_owner(data: Path) -> None:
    """Raise UsageError if ``data`` is a file or within one, or another user's archive, who could not read our files.

    Those would end the other user's recorder, at once or at the next start. The owner of a new file decides: some
    mounts give all files to one user, whatever user writes them. Call it before anything is written.
    """
    for place in (data, *data.parents):
        if place.is_file():
            raise UsageError(f"{place} is a file, and an archive is a folder: name another")
    layout = Layout(data)
    try:
        with tempfile.TemporaryFile(dir=layout.staging) as probe:
            mine = os.fstat(probe.fileno()).st_uid
        owner = layout.trades.stat().st_uid
    except OSError:
        return  # there is none yet, or this user cannot access it, which is reported when it is opened
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
    """An import hook that hides pandas."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _do_without_pandas() -> None:
    """Make pyarrow search for pandas now and not find it: it would cost 60 MB and half a second that no daemon needs.

    pyarrow searches once, when it first converts a list, and remembers the result.
    """
    hook = _NoPandas()
    sys.meta_path.insert(0, hook)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(hook)
