"""One pace for all processes that ask for one archive: Kraken counts requests by address, not by process.

A daemon and a backfill beside it take turns through a small file under a lock. It is advice, not memory: should it be
lost or damaged, the next to come begins it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recorder.core.pacing import LONGEST_PAUSE_S
from recorder.errors import DiskError

_TURN: Final = struct.Struct("<q")
_LONGEST_NS: Final = int(LONGEST_PAUSE_S * 1e9)
"""A turn further ahead than any pause comes from a clock that was set back since; it is not waited for."""


class Turns:
    """The turns noted in the file at ``path``. Times are wall-clock ns, the one clock that processes share."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def claim(self, now_ns: int, interval_s: float) -> float:
        """Return 0 and take a turn, after which the next comes in ``interval_s``; else seconds until asking again."""
        with self._held() as file:
            next_ns = _read(file)
            if now_ns < next_ns <= now_ns + _LONGEST_NS:
                return (next_ns - now_ns) / 1e9
            interval_ns = int(interval_s * 1e9)
            # Who woke late does not delay those after him, so that the pace is also reached.
            begun_ns = next_ns if next_ns <= now_ns < next_ns + interval_ns else now_ns
            _write(file, begun_ns + interval_ns)
            return 0.0

    def pause(self, until_ns: int) -> None:
        """Let nobody have a turn before ``until_ns``: one of us was refused."""
        with self._held() as file:
            _write(file, max(_read(file), until_ns))

    @contextlib.contextmanager
    def _held(self) -> Iterator[int]:
        """Open and lock the file for a moment. Raises DiskError."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # whoever has it has it for microseconds
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise DiskError(f"cannot take turns through {self._path}: {error.strerror}") from error


def _read(file: int) -> int:
    content = os.pread(file, _TURN.size, 0)
    return int(_TURN.unpack(content)[0]) if len(content) == _TURN.size else 0


def _write(file: int, next_ns: int) -> None:
    os.pwrite(file, _TURN.pack(next_ns), 0)
