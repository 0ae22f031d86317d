"""Comparison of files with the digests in their names before they are read: DuckDB verifies no checksum."""

from __future__ import annotations

from collections.abc import Iterable

from recorder.archive.parquet import Stamp, check_digest, stamp
from recorder.object_store import located
from recorder.query.refused_files import FAULTS, Fault


class Digests:
    """Compares each file once, as long as it stays the same."""

    def __init__(self) -> None:
        self._compared: dict[str, Stamp] = {}

    def check(self, paths: Iterable[str]) -> None:
        """Raise UnsoundFile if one of these files is not the one that was written.

        Files of older releases, whose names contain no digest, are skipped: `recorder verify` reads them. Also raise
        UnreadableFile, and FileNotFoundError if a file was compacted meanwhile.
        """
        for name in paths:
            path = located(name)
            found = stamp(path)
            if self._compared.get(name) != found:
                check_digest(path)
                self._compared[name] = found

    def damaged(self, paths: Iterable[str]) -> dict[str, Fault]:
        """Return the files that :meth:`check` would reject, and why. Raise FileNotFoundError."""
        found: dict[str, Fault] = {}
        for path in paths:
            try:
                self.check((path,))
            except FAULTS as error:
                found[path] = error
        return found
