from __future__ import annotations

import errno
from pathlib import Path

import pytest

from recorder.archive.file_faults import Fault, check_pass, diagnose
from recorder.archive.layout import Layout
from recorder.errors import CorruptFile, DiskAtFault, DiskError, UnknownVersion, UnreadableFile, UnsoundFile

LAYOUT = Layout(Path("/data"))
HOME = "trades/pair=BTC%2FUSD"
FILE = f"/data/{HOME}/year=2026/a.parquet"


def refused(kind: type[DiskError], number: int, *arguments: str) -> DiskError:
    error = kind(*arguments)
    error.__cause__ = OSError(number, "refused")
    return error


def faults(*pairs: str) -> dict[str, Fault]:
    return {pair: Fault(pair, "file", "is bad", "move it") for pair in pairs}


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (UnsoundFile(FILE, "is bad", "move it"), FILE),
        (UnknownVersion(FILE, "has schema version 9", "upgrade"), FILE),
        (refused(UnreadableFile, errno.EACCES, FILE, "Permission denied", "move it"), FILE),
        (refused(UnreadableFile, errno.EISDIR, FILE, "Is a directory", "move it"), FILE),
        (refused(DiskError, errno.ENOTDIR, "cannot create"), HOME),
        (CorruptFile("merging would lose rows"), HOME),
    ],
)
def test_a_file_that_is_to_blame_is_named_with_what_to_do(error: Exception, file: str) -> None:
    found = diagnose(LAYOUT, "BTC/USD", error)
    assert found.pair == "BTC/USD"
    assert found.file.endswith(file)
    assert found.problem
    assert found.remedy


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.ENOSPC]
)
def test_what_the_disk_or_the_process_cannot_do_is_no_pairs_fault(number: int) -> None:
    for error in (refused(UnreadableFile, number, FILE, "no", "move it"), refused(DiskError, number, "cannot")):
        with pytest.raises(type(error)):
            diagnose(LAYOUT, "BTC/USD", error)


def test_more_than_a_twentieth_of_the_pairs_and_three_at_least_are_the_disks_fault() -> None:
    check_pass(faults("A/B", "C/D"), 2)
    check_pass(faults("A/B", "C/D", "E/F"), 60)
    check_pass({}, 0)
    with pytest.raises(DiskAtFault, match=r"3 of 59 pairs .* file is bad: move it"):
        check_pass(faults("A/B", "C/D", "E/F"), 59)


def test_a_file_of_another_table_is_no_pairs_fault() -> None:
    for kind in (UnsoundFile, UnknownVersion):
        with pytest.raises(kind):
            diagnose(LAYOUT, "BTC/USD", kind("/data/events/year=2026/a.parquet", "is bad", "move it"))
