"""Why the files of a pair cannot be trusted, and whether that pair is to blame: the disk may be, or this process."""

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
"""More than this share of all pairs, and so many at least, do not get damaged at once: the disk is at fault."""

FAULTS: Final = (*DAMAGE, DiskError)
"""What an operation on the files of one pair raises where they may be to blame."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file or folder of a pair, and what to do about it."""

    pair: str
    file: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file} {self.problem}: {self.remedy}"


def diagnose(layout: Layout, pair: str, error: Exception) -> Fault:
    """Return what is wrong with the files of ``pair``. Raises ``error`` itself where no single pair can be to blame."""
    home = layout.home(Branch(TRADES, pair))
    match error:
        case UnreadableFile() if not error.of_itself:
            raise error
        case UnsoundFile() | UnreadableFile() | UnknownVersion() if Path(error.file).is_relative_to(home):
            return Fault(pair, error.file, error.problem, error.remedy)
        case UnsoundFile() | UnreadableFile() | UnknownVersion():  # of another table: no pair's
            raise error
        case StorageError():
            return Fault(pair, str(home), f"cannot be used: {error}", TRADES.remedy)
        case DiskError() if is_own(error):
            remedy = "let this user write there; it must be a folder"
            return Fault(pair, str(home), f"cannot be written: {error}", remedy)
    raise error


def check_pass(faults: Mapping[str, Fault], pairs: int) -> None:
    """Raise DiskAtFault where so many of ``pairs`` fail in one pass over them that no single one is to blame."""
    if len(faults) >= AT_LEAST and len(faults) > SHARE * pairs:
        one = faults[min(faults)]
        raise DiskAtFault(
            f"{len(faults)} of {pairs} pairs have files that cannot be trusted, {one} for example; so many at once are "
            "the fault of the disk, of its mount or of this process: look there first"
        )
