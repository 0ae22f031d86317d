"""Test reading of files in a child process, because some damage makes pyarrow crash the process that parses it.

Needed only for files of older releases, whose names contain no digest: in all others, damage is found before parsing.
"""

from __future__ import annotations

import atexit
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
from recorder.object_store import located

_BATCH: Final = 32_768
"""Rows in the child's memory at most."""
_MEMORY: Final = 4 * 1024**3
"""Bytes of address space that the child may use: a row group needs a hundredth of it, a damaged size may claim any."""
_SMALL: Final = 8 * 1024 * 1024
"""Size in bytes up to which comparing the digest is cheaper than starting a child."""
_REMEMBERED: Final = 16_384
"""Number of checked files that are remembered: more than the tables without ids have."""
_SURVIVED: Final = b"survived\n"
_TOO_LARGE: Final = b"too large\n"
_MODULE: Final = "recorder.archive.check_readable"


class Probe:
    """A child process that reads files before this process does; started when needed, and again if it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def survives(self, path: Path, *, rows: bool, words: Sequence[str] = ()) -> bool:
        """Return whether the child survived reading the footer, or also all ``rows``, of a file, damaged or not.

        ``words`` as for :class:`OpenFile`: the child must read the file in the same way.
        """
        with self._lock:
            if self._child is None:
                self._child = subprocess.Popen(  # noqa: S603 -- this module
                    [sys.executable, "-m", _MODULE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            requests, answers = self._child.stdin, self._child.stdout
            if requests is None or answers is None:
                raise AssertionError("both are pipes")
            with contextlib.suppress(BrokenPipeError):
                requests.write(json.dumps([str(path.absolute()), rows, list(words)]).encode() + b"\n")
                requests.flush()
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
atexit.register(_PROBE.close)


def check_bytes(path: Path, *, rows: bool = True, words: Sequence[str] = ()) -> None:
    """Raise UnsoundFile if the bytes of a file are not those that were written, or must not be parsed in this process.

    For an older file, without a digest in its name, the only check is whether reading its footer, or also its ``rows``,
    crashes a process. ``words`` as for :class:`OpenFile`. Raises UnreadableFile; FileNotFoundError.
    """
    if path.name == SCHEMA_FILE and is_schema_file(path):
        return
    if (rows and check_digest(path)) or _PROBE.survives(path, rows=rows, words=words):
        return
    raise _deadly(path)


def check_for_parsing(path: Path) -> None:
    """Raise UnsoundFile if a file must not be parsed in this process: the digest of a large one is not compared.

    Raises UnreadableFile; FileNotFoundError.
    """
    if not (_is_known(path, stamp(path)) or _PROBE.survives(path, rows=False)):
        raise _deadly(path)


def _is_known(path: Path, now: Stamp) -> bool:
    """Return whether a file is as it was written, if finding that out is cheap. Raises UnsoundFile if it is not."""
    return (path.name == SCHEMA_FILE and is_schema_file(path)) or (now[1] <= _SMALL and check_digest(path))


def _deadly(path: Path) -> UnsoundFile:
    path.stat()  # raises FileNotFoundError: a missing file is not damaged
    return UnsoundFile(path, "is damaged such that reading it ends the process that does", remedy(path))


class Guard:
    """Checks each file once, and again if it changes, before a process that must not crash reads its rows.

    Reading only a footer, without its row groups, is safe: of 373,905 footers modified for a test, none crashed the
    process. So the footers of thousands of files need no child.
    """

    def __init__(self) -> None:
        self._probe = Probe()
        self._seen: OrderedDict[Path, Stamp] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, path: Path) -> None:
        """Raise UnsoundFile if a file must not be opened; UnreadableFile; FileNotFoundError."""
        now = stamp(path)
        with self._lock:
            if self._seen.get(path) == now:
                return
        if not (_is_known(path, now) or self._probe.survives(path, rows=False)):
            raise _deadly(path)
        with self._lock:
            self._seen[path] = now
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def rest(self) -> None:
        """End the child until it is needed again."""
        self._probe.close()


def _serve() -> None:
    with contextlib.suppress(OSError, ValueError):  # macOS has this limit but does not support setting it
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for line in sys.stdin.buffer:
        path, rows, words = json.loads(line)
        sys.stdout.buffer.write(_read(located(path), rows=rows, words=words))
        sys.stdout.buffer.flush()


def _read(path: Path, *, rows: bool, words: Sequence[str]) -> bytes:
    """Read everything of a file that its later reader will read."""
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
    except Exception:  # noqa: BLE001, S110 -- the actual reader reports it
        pass
    return _SURVIVED


if __name__ == "__main__":
    _serve()
