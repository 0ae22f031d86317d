"""Checks of footer statistics against rows, because readers skip rows by such statistics.

Needed only for files of older releases, whose names contain no digest: in all others every byte is verified.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from recorder.archive.datasets import Dataset, remedy
from recorder.archive.layout import digest_in
from recorder.archive.parquet import OpenFile, kinds_written
from recorder.archive.schema import TIME
from recorder.errors import UnsoundFile
from recorder.lazy_imports import pc

_TEXTS: Final = (pa.string(), pa.binary())


class FooterClaims:
    """The statistics of one row group; :meth:`add` its rows, then :meth:`check`."""

    def __init__(self, file: OpenFile, group: int) -> None:
        """Begin a check; it is skipped for a file with a digest in its name or with rows to be upgraded."""
        applies = digest_in(file.path.name) is None and not file.footer.is_old
        self._file = file
        self._group = group
        self._ends: dict[str, list[Any]] = {name: [] for name in file.columns().names} if applies else {}
        self._nulls = dict.fromkeys(self._ends, 0)

    def add(self, rows: pa.Table) -> None:
        """Add rows of the group, with all their columns."""
        for name, ends in self._ends.items():
            column = _as_stored(rows[name])
            self._nulls[name] += column.null_count
            ends.extend(end for end in pc.min_max(column).as_py().values() if end is not None)

    def check(self) -> None:
        """Raise UnsoundFile if the minimum, maximum or null count of a column differs from the footer's."""
        for name, ends in self._ends.items():
            held = (min(ends), max(ends), self._nulls[name]) if ends else (None, None, self._nulls[name])
            if self._file.claimed(name, self._group) != held:
                path = self._file.path
                raise UnsoundFile(path, f"holds other rows than its footer claims of {name}", remedy(path))


def check_kinds(file: OpenFile, dataset: Dataset) -> None:
    """Raise UnsoundFile if a footer describes the bytes of a column differently from how they were written.

    Other readers may use descriptions that pyarrow ignores.
    """
    path = file.path
    applies = digest_in(path.name) is None and not file.footer.is_old
    if applies and file.kinds() != kinds_written(dataset):
        raise UnsoundFile(path, f"says of its columns what the table of {dataset.name} does not", remedy(path))


def _as_stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values in the form of a file's statistics: times as numbers, texts as bytes."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if kind == TIME:
        return column.cast(pa.int64())
    return column.cast(kind).cast(pa.binary()) if kind in _TEXTS else column
