"""Rate limits shared by all processes of one archive: Kraken counts requests by address, not by process.

A daemon and a backfill beside it take turns through a small locked file, and a daemon that is restarted again and again
counts its connections through another. Such a file is advisory: if it is lost or damaged, the next process creates
it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from recorder.clock import Clock
from recorder.core.backoff import attempt
from recorder.core.throttling import LONGEST_PAUSE_S
from recorder.errors import DiskError

LOOKS: Final = 125
LOOK_S: Final = 0.002
"""Looks at a locked file, and the seconds between two: on a busy machine its holder may have to wait for a CPU."""
_TURN: Final = struct.Struct("<qq")
_PAID: Final = struct.Struct("<q")
_NS: Final = 1_000_000_000
_LONGEST_NS: Final = int(LONGEST_PAUSE_S * _NS)
"""A turn further ahead than any pause comes from a clock that was set back since; it is not waited for."""


class _Moment(NamedTuple):
    """A time by the two clocks that all processes of a machine share, in ns.

    Each compensates for the other: the monotonic clock continues when the wall clock is set, and restarts when the
    machine does.
    """

    wall: int
    monotonic: int

    def after(self, later_ns: int) -> _Moment:
        """Return the time ``later_ns`` later."""
        return _Moment(self.wall + later_ns, self.monotonic + later_ns)

    def until(self, later: _Moment) -> int:
        """Return the ns until a later time, by the clock that shows less; negative if it is past."""
        return min(later.wall - self.wall, later.monotonic - self.monotonic)


class SharedRateLimit:
    """The turns recorded in the file at ``path``."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = _SharedFile(path)
        self._clock = clock
        self._parts: dict[str, SharedRateLimit] = {}

    def claim(self, interval_s: float) -> float:
        """Return 0 and use a turn, with the next one in ``interval_s``; else the seconds until the next call."""
        with self._file.held() as file:
            now = _now(self._clock)
            if left_ns := _left_ns(now, _read(file)):
                return left_ns / _NS
            left_ns = now.until(_read(file))
            interval_ns = int(interval_s * _NS)
            # A late wake-up does not delay the next turns, so that the pace is reached.
            begun_ns = left_ns if -interval_ns < left_ns <= 0 else 0
            _write(file, now.after(begun_ns + interval_ns))
            return 0.0

    def pause(self, pause_s: float) -> None:
        """Allow no turn for ``pause_s`` seconds: a request was refused."""
        with self._file.held() as file:
            now = _now(self._clock)
            pause_ns = int(pause_s * _NS)
            if now.until(_read(file)) < pause_ns:
                _write(file, now.after(pause_ns))

    def of(self, name: str) -> SharedRateLimit:
        """Return the turns of a part, recorded in a file beside this one."""
        if name not in self._parts:
            path = self._file.path
            self._parts[name] = SharedRateLimit(path.with_name(f"{path.name}-{name}"), self._clock)
        return self._parts[name]

    def paused_s(self) -> float:
        """Return the seconds until the next turn, without using it; 0 if now."""
        if not self._file.path.exists():
            return 0.0
        with self._file.held() as file:
            return _left_ns(_now(self._clock), _read(file)) / _NS


class AttemptLimit:
    """The attempts to connect, counted in the file at ``path`` over all connections and runs."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = _SharedFile(path)
        self._clock = clock

    def claim(self) -> float:
        """Return 0 and count an attempt, which may be made now; else the seconds until the next call."""
        with self._file.held() as file:
            now = _now(self._clock)
            if left_ns := _left_ns(now, _read(file, _PAID.size)):
                return left_ns / _NS
            content = os.pread(file, _PAID.size, 0)
            paid_ns = int(_PAID.unpack(content)[0]) if len(content) == _PAID.size else 0
            wait_s, paid_ns = attempt(paid_ns, now.wall)
            if not wait_s:
                os.pwrite(file, _PAID.pack(paid_ns), 0)
            return wait_s

    def pause(self, pause_s: float) -> None:
        """Allow no attempt for ``pause_s`` seconds, nor in a later run: one was refused."""
        with self._file.held() as file:
            now = _now(self._clock)
            pause_ns = int(pause_s * _NS)
            if now.until(_read(file, _PAID.size)) < pause_ns:
                _write(file, now.after(pause_ns), _PAID.size)


class _SharedFile:
    """A small file that processes lock for microseconds, to read and change it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stays_locked = False

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Open and lock the file briefly. Raises DiskError."""
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._lock(file)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise DiskError(f"cannot take turns through {self.path}: {error.strerror}") from error

    def _lock(self, file: int) -> None:
        """Lock the file; go on without if it stays locked, and from then on do not wait for it until it was free.

        Then its holder was stopped in between, and all others, of which one may record trades, must not wait for it.
        """
        for again in range(1 if self._stays_locked else LOOKS):
            if again:
                time.sleep(LOOK_S)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._stays_locked = False
                return
        self._stays_locked = True


def _now(clock: Clock) -> _Moment:
    return _Moment(clock.wall_ns(), int(clock.monotonic() * _NS))


def _left_ns(now: _Moment, turn: _Moment) -> int:
    """Return the ns until ``turn``; 0 if it has come, or is further ahead than any pause."""
    left_ns = now.until(turn)
    return left_ns if 0 < left_ns <= _LONGEST_NS else 0


def _read(file: int, at: int = 0) -> _Moment:
    content = os.pread(file, _TURN.size, at)
    return _Moment(*_TURN.unpack(content)) if len(content) == _TURN.size else _Moment(0, 0)


def _write(file: int, turn: _Moment, at: int = 0) -> None:
    os.pwrite(file, _TURN.pack(*turn), at)
