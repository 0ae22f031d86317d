"""Every error this package raises, as one tree.

::

    RecorderError                      exit code
    ├── ConfigError                    2   a key, its value, and what would be right
    ├── UsageError                     2   a question that cannot be answered as asked
    │   └── NoSuchArchive              2
    ├── ArchiveInUse                   3   another recorder holds this archive
    ├── DiskError                      4   the operating system refused a read or a write
    │   ├── DiskAtFault                4   of so many files that no one of them is to blame
    │   ├── UnreadableFile             4   of a file of the archive; carries it, and the remedy
    │   │   └── UnlistedFolder         4   of a folder of it
    │   └── TableUnusable              4   of a folder of a table without ids, which is to blame itself
    ├── CheckFailed                    1   incomplete, or not what it should be
    │   └── GapError                   1   rows were asked for across a hole
    ├── StorageError                   1   what lies on disk is not what was written there
    │   ├── Unstorable                     can be read, and does not fit the archive
    │   ├── TornTail                       carries how many bytes are whole
    │   ├── CorruptLine
    │   ├── CorruptFile
    │   │   └── UnsoundFile                carries the file, what is wrong with it, and the remedy
    │   └── UnknownVersion                 sound, but of a release that knows more, or less
    └── ExchangeError                  1   Kraken's answer; ``retry`` says what to do next, ``retry_after_s`` when
            ├── RateLimited                    retry AFTER_PAUSE
        ├── Forbidden                      retry AFTER_LONG_PAUSE (the edge refused us)
        ├── Unavailable                    retry WITH_BACKOFF (5xx, EService, no connection, not JSON)
        ├── Malformed                      retry WITH_BACKOFF (JSON, but not the answer we know)
        └── Refused                        retry NEVER (the request itself is wrong)
            └── UnknownPair                retry NEVER; carries ``pair``

Whether and how to retry is a property of the type, so that no caller has to read a sentence to decide.
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
    """The root. Its text is one clear sentence for a person; ``exit_code`` is what the command line returns."""

    exit_code: ClassVar[int] = 1


_OWN: Final = frozenset(
    (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)
)
"""How the system says that a file or a folder itself is to blame. EIO, ESTALE, ETIMEDOUT, EMFILE and ENOMEM, for
example, are the disk's or the process's fault."""


def is_own(error: DiskError) -> bool:
    """Return whether what the operating system refused is the fault of the file or folder that it refused."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _OWN


class ConfigError(RecorderError):
    """A configuration that cannot be used; names the key, the value and the remedy."""

    exit_code = 2


class UsageError(RecorderError):
    """A call that cannot be answered as asked: unknown pair, reversed range, naive time, bad timeframe."""

    exit_code = 2


class NoSuchArchive(UsageError):
    """There is no archive at this path."""


class ArchiveInUse(RecorderError):
    """Another recorder holds this archive."""

    exit_code = 3


class DiskError(RecorderError):
    """The operating system refused a read or a write: disk full, I/O error, read-only, no permission."""

    exit_code = 4


class DiskAtFault(DiskError):
    """So many files cannot be read at once that the disk is at fault, or this process, and no one of them."""


class UnreadableFile(DiskError):
    """A file of the archive that the operating system does not read; ``problem`` and ``remedy`` as of UnsoundFile."""

    def __init__(self, file: object, reason: str, remedy: str) -> None:
        self.file = str(file)
        self.problem = f"cannot be read: {reason}"
        self.remedy = "check the disk, and that this user may read it" + (f"; else {remedy}" if remedy else "")
        super().__init__(f"cannot read {file}: {reason}; {self.remedy}")

    @property
    def of_itself(self) -> bool:
        """Whether this file is to blame; otherwise the disk is, or this process, and most likely others fail too."""
        return is_own(self)


class UnlistedFolder(UnreadableFile):
    """A folder of the archive that cannot be listed: what lies in it is not known, which is not to say missing."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(folder, reason, "")
        self.problem = f"cannot be listed: {reason}"
        self.remedy = "check the disk, and that this user may list this folder, and those above it"
        self.args = (f"{folder} {self.problem}; {self.remedy}",)


class TableUnusable(DiskError):
    """A folder of candles, events or listings refuses to be listed or written: what is for it waits in the journal."""


class CheckFailed(RecorderError):
    """Something was checked and is not as it should be."""


class GapError(CheckFailed):
    """Rows were asked for across a hole; the sentence names the holes and the command that repairs them."""


class StorageError(RecorderError):
    """What lies on disk is not what was written there."""


class Unstorable(StorageError):
    """Something that came, could be read, and does not fit the archive: to be set aside, so that all else goes on."""


class TornTail(StorageError):
    """A segment ends in the middle of a line; its first ``valid_bytes`` bytes are whole."""

    def __init__(self, path: str, valid_bytes: int, torn_bytes: int) -> None:
        super().__init__(f"{path}: the last {torn_bytes} bytes are a torn line; {valid_bytes} bytes are whole")
        self.valid_bytes = valid_bytes
        self.torn_bytes = torn_bytes


class CorruptLine(StorageError):
    """A journal line that is not what its checksum says; carries the ``line`` as it lies there."""

    def __init__(self, message: str, line: bytes) -> None:
        super().__init__(message)
        self.line = line


class CorruptFile(StorageError):
    """A Parquet file that cannot be read, or does not hold what its footer says."""


class UnsoundFile(CorruptFile):
    """A file of the archive of which it is known what is wrong (``problem``), and what to do about it (``remedy``)."""

    def __init__(self, file: object, problem: str, remedy: str) -> None:
        super().__init__(f"{file} {problem}: {remedy}")
        self.file = str(file)
        self.problem = problem
        self.remedy = remedy


class UnknownVersion(StorageError):
    """A file of a schema version that this release does not know: not damaged, and to be left where it is.

    ``problem`` and ``remedy`` as of UnsoundFile.
    """

    def __init__(self, file: object, problem: str, remedy: str) -> None:
        super().__init__(f"{file} {problem}: {remedy}")
        self.file = str(file)
        self.problem = problem
        self.remedy = remedy


class ExchangeError(RecorderError):
    """An answer of the exchange, or the lack of one, that is not the data asked for.

    ``retry_after_s`` is how many seconds it wants to be left alone; None: it did not say.
    """

    retry: ClassVar[Retry] = Retry.WITH_BACKOFF

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(ExchangeError):
    """The exchange throttles us: calls stop for a while."""

    retry = Retry.AFTER_PAUSE


class Forbidden(ExchangeError):
    """The edge answered 403: pause for minutes, look at the User-Agent and the address we call from."""

    retry = Retry.AFTER_LONG_PAUSE


class Unavailable(ExchangeError):
    """No answer, a 5xx, a body that is not JSON, or ``EService:*``: back off and ask again."""


class Malformed(ExchangeError):
    """JSON, but not the answer we know how to read; ``body`` is what came, where it is at hand."""

    body: bytes | None = None


class Refused(ExchangeError):
    """The request itself is wrong; asking again cannot help."""

    retry = Retry.NEVER


class UnknownPair(Refused):
    """The exchange does not know this pair (never listed, delisted, or hidden from this region)."""

    def __init__(self, message: str, pair: str | None = None) -> None:
        super().__init__(message)
        self.pair = pair
