"""All exceptions of this package, as one tree.

::

    RecorderError                      exit code
    ├── ConfigError                    2   a key, its value, and what would be right
    │   └── KeyRefused                 2   of an account: a key that may do too much, or is not kept well
    ├── UsageError                     2   a question that cannot be answered as asked
    │   └── NoSuchArchive              2
    ├── ArchiveInUse                   3   another recorder has this archive open
    ├── DiskError                      4   the operating system refused a read or a write
    │   ├── DiskAtFault                4   of many files at once: the disk is the likely cause
    │   ├── UnreadableFile             4   of a file of the archive; carries it, and the remedy
    │   │   └── UnlistedFolder         4   of a folder of it
    │   └── TableUnusable              4   of a folder of a table without ids, which itself is the cause
    ├── CheckFailed                    1   incomplete, or not what it should be
    │   └── GapError                   1   the requested rows span a gap
    ├── FilesReplaced                  1   of a dataset, by a compaction: scan again
    ├── StorageError                   1   the content on disk is not what was written there
    │   ├── Unstorable                     can be read, and does not fit the archive
    │   ├── TornTail                       carries the number of whole bytes
    │   ├── CorruptLine
    │   ├── CorruptFile
    │   │   └── UnsoundFile                carries the file, its problem, and the remedy
    │   └── UnknownVersion                 undamaged, but of a newer or older release
    └── ExchangeError                  1   Kraken's answer; ``retry`` is what to do next, ``retry_after_s`` when
        ├── RateLimited                    retry AFTER_PAUSE
        ├── Forbidden                      retry AFTER_LONG_PAUSE (the edge refused us)
        ├── ClockWrong                     retry WITH_BACKOFF (the host's clock differs from Kraken's)
        ├── Unavailable                    retry WITH_BACKOFF (5xx, EService, no connection, not JSON)
        ├── Malformed                      retry WITH_BACKOFF (JSON, but not a known form of answer)
        └── Refused                        retry NEVER (the request itself is wrong)
            ├── UnknownPair                retry NEVER; carries ``pair``
            ├── InvalidKey                 2   retry NEVER, not even in another process: it leads to a lockout
            ├── InvalidNonce               2   retry NEVER; the client has done so once
            └── PermissionDenied               retry NEVER; the message names the right that the key lacks

Whether and how to retry is a property of the type, so that no caller has to read a message to decide.
"""

from __future__ import annotations

import enum
import errno
from typing import ClassVar, Final


class Retry(enum.Enum):
    """What to do after an error of the exchange (sources: docs.kraken.com errors guide; API.md 3.2)."""

    NEVER = "never"
    WITH_BACKOFF = "with back-off"
    AFTER_PAUSE = "after a pause of all calls"
    AFTER_LONG_PAUSE = "after minutes"


class RecorderError(Exception):
    """Base class. Its text is one clear sentence for the user; ``exit_code`` is the exit code of the command line."""

    exit_code: ClassVar[int] = 1


_OWN: Final = frozenset(
    (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)
)
"""Error numbers whose cause is the file or folder itself. EIO, ESTALE, ETIMEDOUT, EMFILE and ENOMEM, for example, are
caused by the disk or the process."""


def is_own(error: DiskError) -> bool:
    """Return whether the file or folder itself is the cause of an error of the operating system."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _OWN


class ConfigError(RecorderError):
    """An unusable configuration; names the key, the value and the remedy."""

    exit_code = 2


class KeyRefused(ConfigError):
    """A key of an account that is not used: it may do more than read, cannot be read, or is not kept secret."""


class UsageError(RecorderError):
    """A call that cannot be answered as asked: unknown pair, reversed range, naive time, bad timeframe."""

    exit_code = 2


class NoSuchArchive(UsageError):
    """There is no archive at this path."""


class ArchiveInUse(RecorderError):
    """Another recorder has this archive open."""

    exit_code = 3


class DiskError(RecorderError):
    """The operating system refused a read or a write: disk full, I/O error, read-only, no permission."""

    exit_code = 4


class DiskAtFault(DiskError):
    """So many files cannot be read at once that the cause is the disk or this process, not a single file."""


def _look_at(place: object) -> str:
    return "check the address and the network" if str(place).startswith("s3:") else "check the disk"


class UnreadableFile(DiskError):
    """The operating system cannot read a file of the archive; ``problem`` and ``remedy`` as of UnsoundFile."""

    def __init__(self, file: object, reason: str, remedy: str) -> None:
        self.file = str(file)
        self.problem = f"cannot be read: {reason}"
        self.remedy = f"{_look_at(file)}, and that this user may read it" + (f"; else {remedy}" if remedy else "")
        super().__init__(f"cannot read {file}: {reason}; {self.remedy}")

    @property
    def of_itself(self) -> bool:
        """Whether this file is the cause; otherwise the disk or this process is, and others probably fail too."""
        return is_own(self)


class UnlistedFolder(UnreadableFile):
    """A folder of the archive cannot be listed: its content is unknown, which does not mean missing."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(folder, reason, "")
        self.problem = f"cannot be listed: {reason}"
        self.remedy = f"{_look_at(folder)}, and that this user may list this folder, and those above it"
        self.args = (f"{folder} {self.problem}; {self.remedy}",)


class TableUnusable(DiskError):
    """A folder of candles, events or listings cannot be listed or written: its rows wait in the journal."""


class CheckFailed(RecorderError):
    """A check found that something is not as it should be."""


class GapError(CheckFailed):
    """The requested rows span a gap; the message names the gaps and the command that repairs them."""


class FilesReplaced(RecorderError):
    """A file of a dataset was merged into another one since; its rows are there, and a new scan finds them."""


class StorageError(RecorderError):
    """The content on disk is not what was written there."""


class Unstorable(StorageError):
    """Readable input that does not fit the archive: to be quarantined, so that everything else continues."""


class TornTail(StorageError):
    """A segment ends in the middle of a line; its first ``valid_bytes`` bytes are whole."""

    def __init__(self, path: str, valid_bytes: int, torn_bytes: int) -> None:
        super().__init__(f"{path}: the last {torn_bytes} bytes are a torn line; {valid_bytes} bytes are whole")
        self.valid_bytes = valid_bytes
        self.torn_bytes = torn_bytes


class CorruptLine(StorageError):
    """A journal line that does not match its checksum; carries the ``line`` as stored."""

    def __init__(self, message: str, line: bytes) -> None:
        super().__init__(message)
        self.line = line


class CorruptFile(StorageError):
    """A Parquet file that cannot be read, or does not match its footer."""


class UnsoundFile(CorruptFile):
    """A file of the archive with a known ``problem`` and ``remedy``."""

    def __init__(self, file: object, problem: str, remedy: str) -> None:
        super().__init__(f"{file} {problem}: {remedy}")
        self.file = str(file)
        self.problem = problem
        self.remedy = remedy


class UnknownVersion(StorageError):
    """A file of a schema version that this release does not know: not damaged, and to be left in place.

    ``problem`` and ``remedy`` as of UnsoundFile.
    """

    def __init__(self, file: object, problem: str, remedy: str) -> None:
        super().__init__(f"{file} {problem}: {remedy}")
        self.file = str(file)
        self.problem = problem
        self.remedy = remedy


class ExchangeError(RecorderError):
    """An answer of the exchange without the requested data, or no answer.

    ``retry_after_s`` is the number of seconds it wants to receive no requests; None: it did not specify any.
    """

    retry: ClassVar[Retry] = Retry.WITH_BACKOFF

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(ExchangeError):
    """The exchange throttles us: requests stop for a while."""

    retry = Retry.AFTER_PAUSE


class Forbidden(ExchangeError):
    """The edge answered 403: pause for minutes, check the User-Agent and our own address."""

    retry = Retry.AFTER_LONG_PAUSE


class Unavailable(ExchangeError):
    """No answer, a 5xx, a body that is not JSON, or ``EService:*``: back off and retry."""


class ClockWrong(ExchangeError):
    """The host's clock differs from the exchange's by more than a private request may."""


class Malformed(ExchangeError):
    """JSON, but not a known form of answer; ``body`` is the answer as received, if available."""

    body: bytes | None = None


class Refused(ExchangeError):
    """The request itself is wrong; repeating it cannot help."""

    retry = Retry.NEVER


class UnknownPair(Refused):
    """The exchange does not know this pair (never listed, delisted, or hidden from this region)."""

    def __init__(self, message: str, pair: str | None = None) -> None:
        super().__init__(message)
        self.pair = pair


class InvalidKey(Refused):
    """The exchange does not accept the key or its signature."""

    exit_code = 2


class InvalidNonce(Refused):
    """The exchange has seen a greater nonce of this key."""

    exit_code = 2


class PermissionDenied(Refused):
    """The key lacks a right, which the message names."""
