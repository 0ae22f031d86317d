"""Where lines stand in a journal segment, so that they can be read again without keeping them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from recorder.journal import segment
from recorder.journal.segment import Entry

_READ_BYTES: Final = 65_536
"""Consecutive lines of a pair are read together, up to this number of bytes."""


class LinePositions:
    """Positions of lines in a segment, as ranges of bytes."""

    __slots__ = ("offsets", "path", "sizes")

    def __init__(self, path: Path) -> None:
        self.path, self.offsets, self.sizes = path, array("Q"), array("Q")

    def add(self, offset: int, size: int) -> None:
        """Add a line; offsets ascend."""
        sizes = self.sizes
        if sizes and sizes[-1] < _READ_BYTES and self.offsets[-1] + sizes[-1] + 1 == offset:
            sizes[-1] += 1 + size
        else:
            self.offsets.append(offset)
            sizes.append(size)

    def entries(self) -> Iterator[Entry]:
        """Read and decode the lines, whose checksums were compared when they were found."""
        with self.path.open("rb") as file:
            for offset, size in zip(self.offsets, self.sizes, strict=True):
                for line in os.pread(file.fileno(), size, offset).split(b"\n"):
                    yield segment.decode(line, checked=True)
