"""The names of the pairs in the archived listing. For readers: takes no lock, and reads whole files."""

from __future__ import annotations

from typing import Final

from recorder.archive.datasets import INSTRUMENTS, Branch
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.disk import undisturbed

_OTHERS: Final = ("wsname", "altname", "key")


def read(layout: Layout) -> dict[str, set[str]]:
    """Return the other names that each pair was ever listed under; none for one that never was listed.

    Raises CorruptFile, UnreadableFile.
    """
    return undisturbed(lambda: _read(layout), f"the files of {layout.folder(INSTRUMENTS)}")


def _read(layout: Layout) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for path in layout.files(Branch(INSTRUMENTS)):
        with OpenFile(path) as file:
            columns = file.table(columns=("pair", *_OTHERS)).columns
        for pair, *others in zip(*(column.to_pylist() for column in columns), strict=True):
            names.setdefault(pair, set()).update(others)
    return names
