"""The order of syncs (law 2): whatever call the power fails at, nothing acknowledged is lost and nothing doubled."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.archive import files
from recorder.archive.append import TradeArchive
from recorder.archive.compact import compact
from recorder.archive.coverage import Coverage
from recorder.archive.files import Layout
from recorder.archive.instruments import InstrumentArchive
from recorder.core.model import Instrument
from recorder.core.spans import Spans
from recorder.disk import Disk
from recorder.errors import DiskError
from recorder.journal import segment, tail
from recorder.journal.journal import Journal
from tests.archive.rows import PAIR, archive, held, ids, over_new_year, trade, trades
from tests.powercut import PowerCut, PowerLoss, lay

Acked = set[int]
Operation = Callable[[Path, Disk, Acked], None]
Preparation = Callable[[Path], None]


def append(*batches: list[int]) -> Operation:
    def run(data: Path, disk: Disk, acked: Acked) -> None:
        with archive(data, disk) as opened:
            for batch in batches:
                opened.append(PAIR, [trade(trade_id) for trade_id in batch])
                acked.update(batch)

    return run


def append_over_new_year(data: Path, disk: Disk, acked: Acked) -> None:
    with archive(data, disk) as opened:
        opened.append(PAIR, over_new_year(range(1, 9)))
        acked.update(range(1, 9))


def merge(data: Path, disk: Disk, acked: Acked) -> None:
    with archive(data, disk) as opened:
        while compact(opened, PAIR, this_year=9999):
            pass


def journal_line(recv_ns: int, *found: int) -> bytes:
    return segment.encode(recv_ns, "test", json.dumps(list(found)).encode())


def record(data: Path, disk: Disk, acked: Acked) -> None:
    """Journal, drain and retire, as the daemon does, with what an earlier run left drained first."""
    with archive(data, disk) as opened:
        journal = Journal(data, disk, staging=opened.staging, now_ns=1)
        drain(journal, opened)
        for first in (1, 11):
            journal.append([journal_line(first, *range(first, first + 3)), journal_line(first, first + 3, first + 4)])
            acked.update(range(first, first + 5))
            journal.rotate(2)
            drain(journal, opened)
        journal.close()


def drain(journal: Journal, opened: TradeArchive) -> None:
    for path in journal.closed():
        lines = list(segment.entries(path))
        rows = [trade(i) for line in lines if isinstance(line, segment.Entry) for i in ids_in(line)]
        opened.append(PAIR, rows)
        if corrupt := [line.line for line in lines if not isinstance(line, segment.Entry)]:
            journal.set_aside(path, corrupt)
        journal.retire(path, keep=True)


def ids_in(entry: segment.Entry) -> list[int]:
    found: list[int] = json.loads(entry.payload) if entry.source == "test" else []
    return found


def nothing(data: Path) -> None:
    data.mkdir()


def three_files(data: Path) -> None:
    data.mkdir()
    append([1, 2, 3, 20], [4, 5, 21], [6])(data, Disk(), set())


def a_full_neighbour(data: Path) -> None:
    """Two years, the past one with a file that is left alone by the merge of the others."""
    data.mkdir()
    append_over_new_year(data, Disk(), set())
    append([20], [21], [22])(data, Disk(), set())


def journalled(data: Path) -> None:
    """A run that was killed: one closed segment, one open, a torn line at its end."""
    data.mkdir()
    with archive(data) as opened:
        journal = Journal(data, Disk(), staging=opened.staging, now_ns=1)
        journal.append([journal_line(1, 31, 32)])
        journal.rotate(2)
        journal.append([journal_line(2, 32, 33), journal_line(3, 34)[:20]])
        journal.close()


SCENARIOS: dict[str, tuple[Preparation, Operation]] = {
    "a new pair": (nothing, append([1, 2, 3])),
    "a pair that overlaps what is held": (three_files, append([3, 4, 7], [7, 8])),
    "two years": (nothing, append_over_new_year),
    "a merge": (three_files, merge),
    "a merge beside another year": (a_full_neighbour, merge),
    "journal, drain and retirement": (nothing, record),
    "recovery of a killed run": (journalled, record),
}


def everything(data: Path) -> Acked:
    """Return the ids in journal and archive, read by nothing that writes."""
    return {i for entry in tail.entries(data / "journal") for i in ids_in(entry)} | set(ids(data))


def check(data: Path, acked: Acked, operation: Operation, complete: list[int]) -> None:
    """Check what a cut left at ``data``, then repeat the operation and check that it completes."""
    at_once = everything(data)
    with archive(data) as opened:  # a fresh start, which mends
        journal = Journal(data, Disk(), staging=opened.staging, now_ns=9)
        journal.close()
        kept = everything(data)
        assert acked <= kept, f"lost {acked - kept}"
        assert at_once <= kept
        assert opened.coverage.spans(PAIR) == Spans.of_ids(ids(data))
    operation(data, Disk(), set())
    assert ids(data) == complete, "the operation, repeated, did not complete"
    operation(data, Disk(), set())
    assert ids(data) == complete, "the operation, done again, added something"
    left = {path.name for path in (data / ".staging").iterdir()}
    assert left <= {"exchange"}
    assert not list((data / ".staging" / "exchange").iterdir())


@pytest.mark.parametrize("can_swap", [True, False], ids=["exchange", "renames"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_at_any_call_loses_nothing_acknowledged_and_doubles_nothing(
    name: str, tmp_path: Path, *, can_swap: bool
) -> None:
    prepare, operation = SCENARIOS[name]
    if not can_swap and operation is not merge:
        pytest.skip("nothing is exchanged here")
    prepare(tmp_path / "before")
    held_before = everything(tmp_path / "before")
    whole = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    counting = PowerCut(whole, can_swap=can_swap)
    operation(whole, counting, set())
    complete = ids(whole)
    states = 0
    checked: list[object] = []
    for cut_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(tmp_path / "before", tmp_path / f"cut{cut_at}" / "data")
        disk = PowerCut(data, cut_at=cut_at, can_swap=can_swap)
        acked: Acked = set(held_before)
        with pytest.raises(PowerLoss):
            operation(data, disk, acked)
        for tree in disk.aftermaths():
            states += 1
            after = lay(tree, tmp_path / f"cut{cut_at}" / f"after{states}")
            try:
                check(after, acked, operation, complete)
            except Exception as error:
                raise AssertionError(f"cut at call {cut_at}, before {disk.calls[-1]}, left {tree}") from error
            shutil.rmtree(after)
        shutil.rmtree(tmp_path / f"cut{cut_at}")
    print(f"{name}: {len(counting.calls)} calls, {states} states after a cut")
