"""How the daemon's process is set up, once, before it records."""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

import pyarrow as pa

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Frames and trades form no cycles, so looking for some every 700 objects, Python's default, is a seventh of the
work of ingest for nothing. Cycles of other origin are few, and still found."""
UMASK: Final = 0o077
"""What this process writes is its user's alone. Where others shall read, a default ACL of the archive's folder says so,
before which the system does not ask for this (acl(5))."""


def prepare() -> None:
    """Keep pandas out, the garbage collector calm, and files private."""
    os.umask(UMASK)
    gc.set_threshold(*GC_THRESHOLDS)
    _do_without_pandas()


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
