"""One pace for all processes that ask for one archive: Kraken counts requests by address, not by process.

A daemon and a backfill beside it take turns through a small file under a lock, and a daemon that is started again and
again counts its connections through another. Such a file is advice, not memory: should it be lost or damaged, the next
to come begins it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from recorder.clock import Clock
from recorder.core.backoff import attempt
from recorder.core.throttling import LONGEST_PAUSE_S
from recorder.errors import DiskError

_TURN: Final = struct.Struct("<qq")
_PAID: Final = struct.Struct("<q")
_NS: Final = 1_000_000_000
_LONGEST_NS: Final = int(LONGEST_PAUSE_S * _NS)
"""A turn further ahead than any pause comes from clocks that were set back since; it is not waited for."""


class _Moment(NamedTuple):
    """A moment by the two clocks that all processes of a machine share, in ns.

    Each knows what the other does not: the monotonic one goes on where the wall clock is set, and begins anew where the
    machine does.
    """

    wall: int
    monotonic: int

    def after(self, later_ns: int) -> _Moment:
        """Return the moment so much later."""
        return _Moment(self.wall + later_ns, self.monotonic + later_ns)

    def until(self, later: _Moment) -> int:
        """Return how long it is until a later moment, by the clock that says less; below zero if that is over."""
        return min(later.wall - self.wall, later.monotonic - self.monotonic)


class SharedRateLimit:
    """The turns noted in the file at ``path``."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def claim(self, interval_s: float) -> float:
        """Return 0 and take a turn, after which the next comes in ``interval_s``; else seconds until asking again."""
        with _held(self._path) as file:
            now = _now(self._clock)
            if left_ns := _left_ns(now, _read(file)):
                return left_ns / _NS
            left_ns = now.until(_read(file))
            interval_ns = int(interval_s * _NS)
            # Who woke late does not delay those after him, so that the pace is also reached.
            begun_ns = left_ns if -interval_ns < left_ns <= 0 else 0
            _write(file, now.after(begun_ns + interval_ns))
            return 0.0

    def pause(self, pause_s: float) -> None:
        """Let nobody have a turn for so long: one of us was refused."""
        with _held(self._path) as file:
            now = _now(self._clock)
            pause_ns = int(pause_s * _NS)
            if now.until(_read(file)) < pause_ns:
                _write(file, now.after(pause_ns))

    def of(self, name: str) -> SharedRateLimit:
        """Return the turns of a part, which are noted in a file beside this one."""
        return SharedRateLimit(self._path.with_name(f"{self._path.name}-{name}"), self._clock)

    def paused_s(self) -> float:
        """Return in how many seconds the next turn comes, without taking one; 0 if now."""
        if not self._path.exists():
            return 0.0
        with _held(self._path) as file:
            return _left_ns(_now(self._clock), _read(file)) / _NS


class AttemptLimit:
    """The attempts to connect, counted in the file at ``path`` over all lines and runs."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def claim(self) -> float:
        """Return 0 and count an attempt, which may be made now; else seconds until asking again."""
        with _held(self._path) as file:
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
        """Let nobody make an attempt for so long, in a later run neither: one was refused."""
        with _held(self._path) as file:
            now = _now(self._clock)
            pause_ns = int(pause_s * _NS)
            if now.until(_read(file, _PAID.size)) < pause_ns:
                _write(file, now.after(pause_ns), _PAID.size)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    """Open and lock the file for a moment. Raises DiskError."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # whoever has it has it for microseconds
            yield file
        finally:
            os.close(file)
    except OSError as error:
        raise DiskError(f"cannot take turns through {path}: {error.strerror}") from error


def _now(clock: Clock) -> _Moment:
    return _Moment(clock.wall_ns(), int(clock.monotonic() * _NS))


def _left_ns(now: _Moment, turn: _Moment) -> int:
    """Return how long it is until ``turn``; 0 if it has come, or lies further ahead than any pause."""
    left_ns = now.until(turn)
    return left_ns if 0 < left_ns <= _LONGEST_NS else 0


def _read(file: int, at: int = 0) -> _Moment:
    content = os.pread(file, _TURN.size, at)
    return _Moment(*_TURN.unpack(content)) if len(content) == _TURN.size else _Moment(0, 0)


def _write(file: int, turn: _Moment, at: int = 0) -> None:
    os.pwrite(file, _TURN.pack(*turn), at)
