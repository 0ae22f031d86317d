"""How far the member that is being imported is stored, so that the next call goes on there.

Only a hint beside the locks: without it the member is read from its beginning, and what it had stored is compared. One
import runs at a time, so there is one.
"""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from recorder.archive.trades import TradeArchive
from recorder.history.members import Digest
from recorder.history.results import TradesResult

NAME: Final = "import.progress"


class Progress(msgspec.Struct, frozen=True):
    """Rows of a member of ``pair`` with this SHA-256 are stored up to the byte ``offset``: the ``result`` so far."""

    pair: str
    sha256: str
    offset: int
    result: TradesResult


_decode = msgspec.json.Decoder(Progress).decode


class ProgressFile:
    """The note of one archive."""

    def __init__(self, archive: TradeArchive) -> None:
        self._path = archive.layout.locks / NAME
        self._archive = archive

    def read(self, pair: str, digest: Digest) -> Progress | None:
        """Return how far this member is stored; None if that is not known."""
        try:
            found = _decode(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if (found.pair, found.sha256) == (pair, digest.sha256) else None

    def write(self, progress: Progress) -> None:
        """Replace the note. It may be lost, and is not synced; what it claims is durable. Raises DiskError."""
        disk, staged = self._archive.disk, self._archive.staging / uuid.uuid4().hex
        with disk.create(staged) as file:
            disk.write(file, msgspec.json.encode(progress))
        disk.rename(staged, self._path)

    def remove(self) -> None:
        """Remove the note, if there is one. Raises DiskError."""
        if self._path.exists():
            self._archive.disk.unlink(self._path)
