"""The record of what a key has used, shared by all processes of a user that use it.

Its lock is held from the issue of a nonce until the answer, so that requests arrive in the order of their nonces. The
record is on disk before a nonce is sent: none is ever used twice, whatever dies. It lies in the user's folder of state
and not beside the account, because the same key may be used with several folders.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from recorder.clock import Clock
from recorder.core.nonces import GREATEST, KeyUse
from recorder.disk import Disk
from recorder.errors import DiskError, StorageError

LOOK_S: Final = 0.05
"""Interval of looks at a locked record; its holder waits for an answer."""
_SIZE: Final = 256
"""Bytes of a record, always the same: one write replaces all of it."""


def folder(environ: Mapping[str, str]) -> Path:
    """Return where the records of all keys of this user are."""
    state = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "state")
    return Path(state).absolute() / "kraken-recorder" / "keys"


class HeldKeyUse:
    """The record while its lock is held."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle = handle
        self._path = path

    def read(self) -> KeyUse:
        """Return the record; an empty one if there is none yet. Raises StorageError if it is damaged."""
        content = os.pread(self._handle, _SIZE + 1, 0)
        if not content:
            return KeyUse()
        try:
            use = msgspec.json.decode(content, type=KeyUse)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._damaged() from None
        if not 0 <= use.nonce <= GREATEST or not 0 <= use.counter < float("inf"):
            raise self._damaged()
        return use

    def write(self, use: KeyUse) -> None:
        """Replace the record, durably. Raises DiskError."""
        try:
            os.pwrite(self._handle, msgspec.json.encode(use).ljust(_SIZE), 0)
            os.fsync(self._handle)
        except OSError as error:
            raise DiskError(f"cannot write {self._path}: {error.strerror}") from error

    def _damaged(self) -> StorageError:
        return StorageError(
            f"{self._path} is damaged: it should hold the last nonce of this key. Remove it; the clock then gives the "
            "next one, which must be later than the last"
        )


class KeyUseFile:
    """The record of one key in ``folder``, by the key's fingerprint."""

    def __init__(self, folder: Path, fingerprint: str, disk: Disk, clock: Clock) -> None:
        self._path = folder / f"{fingerprint}.json"
        self._disk = disk
        self._clock = clock

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[HeldKeyUse]:
        """Wait for the lock, and hold it. Raises DiskError if the record cannot be kept private."""
        with contextlib.ExitStack() as opened:
            while True:
                handle = self._open()
                opened.callback(os.close, handle)
                while not self._locked(handle):
                    await self._clock.sleep(LOOK_S)
                if self._is_current(handle):
                    break
                opened.close()  # it was removed while it was awaited, and locks nothing any more
            yield HeldKeyUse(handle, self._path)

    def _open(self) -> int:
        try:
            if not self._path.parent.is_dir():
                self._disk.make_dir(self._path.parent)
                self._path.parent.chmod(0o700)
            new = not self._path.exists()
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise DiskError(
                f"cannot open {self._path}, the record of this key's nonces: {error.strerror}; XDG_STATE_HOME names "
                "another folder for it"
            ) from error
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            os.close(handle)
            raise DiskError(f"{self._path} is no file that you alone can write: remove it")
        if new:
            self._disk.sync_dir(self._path.parent)
        return handle

    @staticmethod
    def _locked(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(handle))
        except FileNotFoundError:
            return False
