"""Diagnosis of file errors: whether the pair, the disk or this process is at fault, and the remedy to report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.archive.datasets import TRADES, Branch
from recorder.archive.layout import Layout
from recorder.archive.load_ledger import DAMAGE
from recorder.errors import DiskAtFault, DiskError, StorageError, UnknownVersion, UnreadableFile, UnsoundFile, is_own

SHARE: Final = 0.05
AT_LEAST: Final = 3
"""If more than this share of all pairs, and at least this number, fail at once, the disk is at fault."""

FAULTS: Final = (*DAMAGE, DiskError)
"""Errors of operations on the files of one pair for which these files may be to blame."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a file or folder of a pair, and its remedy."""

    pair: str
    file: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file} {self.problem}: {self.remedy}"


def diagnose(layout: Layout, pair: str, error: Exception) -> Fault:
    """Return the fault in the files of ``pair``. Raises ``error`` itself if no single pair can be at fault."""
    home = layout.home(Branch(TRADES, pair))
    match error:
        case UnreadableFile() if not error.of_itself:
            raise error
        case UnsoundFile() | UnreadableFile() | UnknownVersion() if Path(error.file).is_relative_to(home):
            return Fault(pair, error.file, error.problem, error.remedy)
        case UnsoundFile() | UnreadableFile() | UnknownVersion():  # of another table, not of a pair
            raise error
        case StorageError():
            return Fault(pair, str(home), f"cannot be used: {error}", TRADES.remedy)
        case DiskError() if is_own(error):
            remedy = "let this user write there; it must be a folder"
            return Fault(pair, str(home), f"cannot be written: {error}", remedy)
    raise error


def check_pass(faults: Mapping[str, Fault], pairs: int) -> None:
    """Raise DiskAtFault if so many of ``pairs`` fail in one pass that no single pair can be at fault."""
    if len(faults) >= AT_LEAST and len(faults) > SHARE * pairs:
        one = faults[min(faults)]
        raise DiskAtFault(
            f"{len(faults)} of {pairs} pairs have files that cannot be trusted, such as {one}; this many at once are "
            "the fault of the disk, of its mount or of this process: look there first"
        )
