"""Read a file in a child process first: some damage ends, from within pyarrow, whichever process parses it.

Only for files whose names tell no digest, written by an older release: any other damage is found before it is parsed.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recorder.archive.datasets import SCHEMA_FILE, remedy
from recorder.archive.parquet import OpenFile, Stamp, check_digest, is_schema_file, stamp
from recorder.errors import UnsoundFile

_BATCH: Final = 32_768
"""Rows in the child's hand at most."""
_MEMORY: Final = 4 * 1024**3
"""Bytes of address space that the child may use: a row group takes a hundredth, a damaged size may claim anything."""
_SMALL: Final = 8 * 1024 * 1024
"""Bytes that are compared with a digest sooner than a child is started."""
_REMEMBERED: Final = 16_384
"""Files that are remembered to have been looked at: more than the tables without ids have."""
_SURVIVED: Final = b"survived\n"
_TOO_LARGE: Final = b"too large\n"
_MODULE: Final = "recorder.archive.check_readable"


class Probe:
    """A child process that reads files before this one does; it is started when it is needed, and again if it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def survives(self, path: Path, *, rows: bool, words: Sequence[str] = ()) -> bool:
        """Return whether the child got over reading the footer, or all ``rows``, of a file, damaged or not.

        ``words`` as for :class:`OpenFile`: it must read as this process will.
        """
        with self._lock:
            if self._child is None:
                self._child = subprocess.Popen(  # noqa: S603 -- this module
                    [sys.executable, "-m", _MODULE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            asked, answers = self._child.stdin, self._child.stdout
            if asked is None or answers is None:
                raise AssertionError("both are pipes")
            with contextlib.suppress(BrokenPipeError):
                asked.write(json.dumps([str(path.absolute()), rows, list(words)]).encode() + b"\n")
                asked.flush()
            answer = answers.readline()
            if answer:
                return answer == _SURVIVED
            self._end(self._child)
            self._child = None
            return False

    def close(self) -> None:
        """End the child, if there is one."""
        with self._lock:
            if self._child is not None:
                self._end(self._child)
                self._child = None

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(BrokenPipeError):
            child.communicate()


_PROBE: Final = Probe()


def check_bytes(path: Path, *, rows: bool = True, words: Sequence[str] = ()) -> None:
    """Raise UnsoundFile where the bytes of a file are not those that were written, or must not be parsed here.

    Of an older file, whose name tells no digest, all that is known is whether reading its footer, or its ``rows`` too,
    ends the process. ``words`` as for :class:`OpenFile`. Raises UnreadableFile; FileNotFoundError.
    """
    if path.name == SCHEMA_FILE and is_schema_file(path):
        return
    if (rows and check_digest(path)) or _PROBE.survives(path, rows=rows, words=words):
        return
    raise _deadly(path)


def _deadly(path: Path) -> UnsoundFile:
    path.stat()  # what is gone is no damage
    return UnsoundFile(path, "is damaged such that reading it ends the process that does", remedy(path))


class Guard:
    """Looks at each file once, as long as it stays the same, before a process that must not end opens it for its rows.

    That only a footer is read, and none of what it says of row groups, has ended no process: of 373,905 footers changed
    by hand none did, so that the footers of thousands of files cost no child.
    """

    def __init__(self) -> None:
        self._probe = Probe()
        self._seen: OrderedDict[Path, Stamp] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, path: Path) -> None:
        """Raise UnsoundFile where a file must not be opened; UnreadableFile; FileNotFoundError."""
        now = stamp(path)
        with self._lock:
            if self._seen.get(path) == now:
                return
        known = path.name == SCHEMA_FILE and is_schema_file(path)
        known = known or (now[1] <= _SMALL and check_digest(path))
        if not known and not self._probe.survives(path, rows=False):
            raise _deadly(path)
        with self._lock:
            self._seen[path] = now
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def rest(self) -> None:
        """End the child, until it is needed again."""
        self._probe.close()


def _serve() -> None:
    with contextlib.suppress(OSError, ValueError):  # macOS knows the limit and does not keep it
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for line in sys.stdin.buffer:
        path, rows, words = json.loads(line)
        sys.stdout.buffer.write(_read(Path(path), rows=rows, words=words))
        sys.stdout.buffer.flush()


def _read(path: Path, *, rows: bool, words: Sequence[str]) -> bytes:
    """Do with a file all that its reader will do with it."""
    try:
        with OpenFile(path, words=words) as file:
            file.kinds()
            for name in file.columns().names:
                for group in file.groups:
                    with contextlib.suppress(UnsoundFile):
                        file.claimed(name, group)
            for _ in file.read(_BATCH) if rows else ():
                pass
    except MemoryError:
        return _TOO_LARGE
    except Exception:  # noqa: BLE001, S110 -- whoever reads it next says what it is
        pass
    return _SURVIVED


if __name__ == "__main__":
    _serve()
