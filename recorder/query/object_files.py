"""An archive in object storage as a file system of DuckDB's: its objects, and nothing else.

DuckDB calls these methods from its own threads, and reports what they raise as the text of a traceback. So the
exception itself is kept for :meth:`ObjectFiles.failure`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from glob import has_magic
from typing import Final

from fsspec import AbstractFileSystem

from recorder import object_store
from recorder.errors import UsageError
from recorder.object_store import SCHEME, ObjectFile, located

_OUT: Final = "/../"
"""In a path that stands for files that must not be read: see :mod:`recorder.query.refused_files`."""


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The objects below the address ``data``, for ``register_filesystem``."""

    protocol = SCHEME.removesuffix("://")
    cachable = False

    def __init__(self, data: str) -> None:
        super().__init__()
        self._data = data
        self._failed: tuple[str, Exception] | None = None

    def failure(self) -> tuple[str, Exception] | None:
        """Return, once, the path that could not be read last, and why; None if there was none."""
        failed, self._failed = self._failed, None
        return failed

    def open(self, path: str, mode: str = "rb", **_: object) -> _File:
        """Open an object for reading."""
        if _OUT in path:
            raise FileNotFoundError(path)
        with self._kept(path):
            self._check(path, mode)
            return _File(object_store.opened(path), partial(self._kept, path))

    def glob(self, path: str, **_: object) -> list[str]:
        """Return the objects that match a pattern; a path that is none as it is."""
        if not has_magic(path):
            return [path]
        with self._kept(path):
            self._check(path)
            found = [self._data]
            for part in path.removeprefix(f"{self._data}/").split("/"):
                found = [f"{home}/{name}" for home in found for name in _matching(home, part)]
            return found

    def size(self, path: str) -> int:
        """Return the size of an object in bytes."""
        with self._kept(path):
            return located(path).stat().st_size

    def modified(self, path: str) -> datetime:
        """Return when an object was written."""
        with self._kept(path):
            return datetime.fromtimestamp(located(path).stat().st_mtime, UTC)

    def _check(self, path: str, mode: str = "rb") -> None:
        if not path.startswith(f"{self._data}/") or mode != "rb":
            raise UsageError(f"{path} is not read: only objects below {self._data} are")

    @contextmanager
    def _kept(self, path: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed = path, error
            raise


class _File:
    """An open object, as far as DuckDB uses one."""

    def __init__(self, file: ObjectFile, kept: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._kept = kept

    def seek(self, offset: int) -> int:
        """Move the position."""
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        with self._kept():
            return self._file.read(size)

    def close(self) -> None:
        """Do nothing: no connection is held."""


def _matching(folder: str, pattern: str) -> list[str]:
    try:
        return [name for name in object_store.names(folder) if fnmatchcase(name, pattern)]
    except FileNotFoundError:  # an object, or nothing any more
        return []
