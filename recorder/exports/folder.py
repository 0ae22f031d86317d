"""The folder of an export: new, written beside its place, and given its name once everything in it is complete.

Contains the SHA-256 and size of each file. All changes go through :class:`recorder.disk.Disk`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from recorder.disk import Disk
from recorder.errors import UsageError

ASIDE: Final = ".part"
"""The suffix of the folder while it is written."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The SHA-256 of a file, as hexadecimal digits, and its size."""

    sha256: str
    size: int


class HashedFile:
    """A file that is written from its beginning to its end, through the disk, and hashed on the way."""

    closed = False  # pyarrow asks for it

    def __init__(self, disk: Disk, file: BinaryIO) -> None:
        self._disk, self._file = disk, file
        self._sha256, self._size = hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        """Write all of ``content``. Raises DiskError."""
        view = memoryview(content)
        self._disk.write(self._file, view)
        self._sha256.update(view)
        self._size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def close(self) -> None:
        """Leave the file open for :meth:`NewFolder.file`, which opened it."""

    @property
    def facts(self) -> FileFacts:
        """The facts of what has been written so far."""
        return FileFacts(self._sha256.hexdigest(), self._size)


class NewFolder:
    """A folder that becomes ``path`` at :meth:`finish`, and vanishes if that is not reached.

    ``path`` may be an empty folder, nothing else. After a kill the folder beside it remains, named with ``ASIDE``.
    """

    def __init__(self, path: Path, archive: Path, disk: Disk) -> None:
        """Raise UsageError if the folder cannot be made, or lies in the archive."""
        self.path = path.absolute()
        self.aside = self.path.with_name(f"{self.path.name}{ASIDE}")
        self.files: dict[str, FileFacts] = {}
        self._disk = disk
        check_outside(path, archive)
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise UsageError(f"{path} is there already, and is not overwritten: move it away, or choose another name")
        if self.aside.exists():
            raise UsageError(f"{self.aside} is there: another process writes {path}, or one that died did; remove it")

    def __enter__(self) -> Self:
        self._disk.make_dir(self.aside)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.aside.exists():
            self._disk.remove_tree(self.aside)

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[HashedFile]:
        """Yield a new file, which is synced afterwards."""
        with self._disk.create(self.aside / name) as file:
            hashed = HashedFile(self._disk, file)
            yield hashed
            self._disk.sync(file)
        self.files[name] = hashed.facts

    def adopt(self) -> None:
        """Sync and hash the files that another program has written into the folder."""
        for path in sorted(self.aside.rglob("*")):
            name = path.relative_to(self.aside).as_posix()
            if path.is_dir():
                self._disk.sync_dir(path)
            elif name not in self.files:
                with self._disk.open_append(path) as file:
                    self._disk.sync(file)
                self.files[name] = _facts(path)

    def finish(self) -> None:
        """Give the folder its name. Raises DiskError."""
        self._disk.sync_dir(self.aside)
        self._disk.rename(self.aside, self.path)
        self._disk.sync_dir(self.path.parent)


def check_outside(path: Path, archive: Path) -> None:
    """Raise UsageError if ``path`` lies in the folder of the archive."""
    if path.resolve().is_relative_to(archive.resolve()):
        raise UsageError(f"{path} lies in the archive {archive}, where only its own files may be: write elsewhere")


def _facts(path: Path) -> FileFacts:
    sha256, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
    return FileFacts(sha256.hexdigest(), size)
