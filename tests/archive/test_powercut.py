"""The order of syncs (law 2): whatever call the power fails at, nothing acknowledged is lost and nothing doubled."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import pytest
import zstandard

from recorder.archive import archive_id
from recorder.archive.compaction import compact
from recorder.archive.trades import TradeArchive
from recorder.core.trade_ids import Spans
from recorder.disk import Disk
from recorder.errors import DiskError
from recorder.journal import live_read, segment
from recorder.journal.journal import Journal
from tests.archive.rows import PAIR, archive, ids, over_new_year, trade
from tests.powercut import Frozen, PowerCut, PowerLoss, Tree, Unsynced, cuts, frozen, lay, lying, same_names
from tests.segments import ARCHIVE

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
        while compact(opened, PAIR, today=date(9999, 1, 1)):
            pass


def journal_line(recv_ns: int, *found: int) -> bytes:
    return segment.encode(recv_ns, "test", json.dumps(list(found)).encode())


def record(data: Path, disk: Disk, acked: Acked) -> None:
    """Journal, drain and retire, as the daemon does, with what an earlier run left drained first."""
    with archive(data, disk) as opened, closing(Journal(data, disk, staging=opened.staging, now_ns=1)) as journal:
        drain(journal, opened)
        for first in (1, 11):
            journal.append([journal_line(first, first, first + 1), journal_line(first, first + 1, first + 2)])
            acked.update(range(first, first + 3))
            journal.rotate(2)
            drain(journal, opened)


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
    """Begin with an id alone: ``test_archive_id.py`` cuts while that is written."""
    data.mkdir()
    (data / archive_id.FILE).write_text(json.dumps({"id": ARCHIVE, "inode": 1}))


def created(data: Path) -> None:
    """Begin with an archive without rows: "a new pair" is cut while that is created."""
    nothing(data)
    with archive(data, Unsynced()):
        pass


def three_files(data: Path) -> None:
    data.mkdir()
    append([1, 2, 3, 20], [4, 5, 21], [6])(data, Unsynced(), set())


def a_full_neighbour(data: Path) -> None:
    """Two years, the past one with a file that is left alone by the merge of the others."""
    data.mkdir()
    append_over_new_year(data, Unsynced(), set())
    append([20], [21], [22])(data, Unsynced(), set())


def journalled(data: Path) -> None:
    """A run that was killed: one closed segment, one open, a torn line at its end."""
    data.mkdir()
    with archive(data, Unsynced()) as opened:
        journal = Journal(data, Unsynced(), staging=opened.staging, now_ns=1)
        journal.append([journal_line(1, 31, 32)])
        journal.rotate(2)
        journal.append([journal_line(2, 32, 33), journal_line(3, 34)[:20]])
        journal.close()


SCENARIOS: dict[str, tuple[Preparation, Operation]] = {
    "a new pair": (nothing, append([1, 2, 3])),
    "a pair that overlaps what is held": (three_files, append([3, 4, 7], [7, 8])),
    "two years": (created, append_over_new_year),
    "a merge": (three_files, merge),
    "a merge beside another year": (a_full_neighbour, merge),
    "journal, drain and retirement": (created, record),
    "recovery of a killed run": (journalled, record),
}


CASES = [pytest.param(name, True, id=name) for name in SCENARIOS] + [
    pytest.param(name, False, id=f"{name}, by renames") for name in SCENARIOS if "merge" in name
]


def everything(data: Path) -> Acked:
    """Return the ids in journal and archive, read by nothing that writes."""
    return {i for entry in live_read.entries(data / "journal") for i in ids_in(entry)} | set(ids(data))


def kept_raw(data: Path) -> Acked:
    """Return the ids in journalled lines, retired or not."""
    assert not list((data / "raw").glob("*.corrupt")), "an undamaged line was set aside"
    lines = [line for path in segment.segments(data / "journal") for line in path.read_bytes().splitlines()]
    for path in (data / "raw").iterdir():
        lines += zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).splitlines()
    return {i for line in lines for i in ids_in(segment.decode(line))}


@dataclass(frozen=True)
class Kept:
    """The ids that a start finds, and of them those in journalled lines, retired or not."""

    ids: Acked
    raw: Acked


class Starts:
    """Starts over what a cut left, each followed by the operation again: once for each distinct state of the disk."""

    def __init__(self, operation: Operation, complete: list[int], at: Path) -> None:
        self._operation, self._complete, self._at = operation, complete, at
        self.over: dict[Frozen, Kept] = {}
        self._repeated: set[Frozen] = set()

    def check(self, left: Tree, acked: Acked) -> None:
        """Check that a start over what was ``left`` loses nothing, and that the operation, repeated, completes."""
        key = frozen(left)
        if key not in self.over:
            data = lay(left, self._at)
            self.over[key] = self._start(data)
            shutil.rmtree(data)
        kept = self.over[key]
        assert acked <= kept.ids, f"lost {acked - kept.ids}"
        if self._operation is record:
            assert acked <= kept.raw, "a segment was retired before its copy was durable"

    def _start(self, data: Path) -> Kept:
        at_once = everything(data)
        with archive(data, Unsynced()) as opened:  # a fresh start, which mends
            Journal(data, Unsynced(), staging=opened.staging, now_ns=9).close()
            kept = everything(data)
            assert at_once <= kept
            assert opened.coverage.spans(PAIR) == Spans.of_ids(ids(data))
        found = Kept(kept, kept_raw(data))
        if (mended := frozen(lying(data))) not in self._repeated:
            self._repeated.add(mended)
            self._repeat(data)
        return found

    def _repeat(self, data: Path) -> None:
        self._operation(data, Unsynced(), set())
        assert ids(data) == self._complete, "the operation, repeated, did not complete"
        self._operation(data, Unsynced(), set())
        assert ids(data) == self._complete, "the operation, done again, added something"
        left = {path.name for path in (data / ".staging").iterdir()}
        assert left <= {"exchange"}
        assert not list((data / ".staging" / "exchange").iterdir())


def run_until(cut: PowerCut, operation: Operation, data: Path) -> Acked:
    """Run the operation until the power goes; unique names are the same each time, so that runs can be compared."""
    acked: Acked = set()
    with same_names(1 if cut.calls == [] else 1 << 32), contextlib.suppress(PowerLoss):
        operation(data, cut, acked)
    return acked


@pytest.mark.parametrize(("name", "can_swap"), CASES)
def test_a_power_cut_at_any_call_loses_nothing_acknowledged_and_doubles_nothing(
    name: str, tmp_path: Path, *, can_swap: bool
) -> None:
    prepare, operation = SCENARIOS[name]
    prepare(tmp_path / "before")
    held_before = everything(tmp_path / "before")
    whole = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    acked: Acked = set()
    moments = cuts(
        PowerCut(whole, can_swap=can_swap),
        lambda disk: operation(whole, disk, acked),
        noted=lambda: frozenset(held_before | acked),
    )
    starts = Starts(operation, ids(whole), tmp_path / "after")
    for cut in moments:
        assert isinstance(cut.noted, frozenset)
        for tree in cut.trees:
            try:
                starts.check(tree, set(cut.noted))
            except Exception as error:
                raise AssertionError(f"cut before {cut.before}, which left {tree}") from error
    # Some calls change nothing that a start can see: making folders and first files of tables is most of a creation.
    assert len(starts.over) > len(moments) / 4, "hardly any state differed: is the model at work?"


@pytest.mark.parametrize(("name", "can_swap"), CASES)
def test_what_a_killed_process_left_is_made_durable_before_the_next_one_counts_it(
    name: str, tmp_path: Path, *, can_swap: bool
) -> None:
    prepare, operation = SCENARIOS[name]
    prepare(tmp_path / "before")
    held_before = everything(tmp_path / "before")
    whole = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    counting = PowerCut(whole, can_swap=can_swap)
    operation(whole, counting, set())
    checked: list[tuple[Tree, Acked]] = []
    for killed_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(tmp_path / "before", tmp_path / "now")
        disk = PowerCut(data, cut_at=killed_at, can_swap=can_swap)
        acked = held_before | run_until(disk, operation, data)
        disk.revive()
        acked |= run_until(disk, operation, data)
        for tree in disk.aftermaths(("lost",)):
            if (tree, acked) in checked:
                continue
            checked.append((tree, acked))
            after = lay(tree, tmp_path / "after")
            with archive(after, Unsynced()):  # a fresh start, which mends
                assert acked <= everything(after), f"killed at call {killed_at}, which left {tree}"
            shutil.rmtree(after)
        shutil.rmtree(data)


def test_the_files_that_a_merge_replaced_go_only_once_the_exchange_is_durable(tmp_path: Path) -> None:
    three_files(tmp_path / "before")
    tries = 0
    for killed_at in itertools.count(1):
        data = shutil.copytree(tmp_path / "before", tmp_path / "now")
        disk = PowerCut(data, cut_at=killed_at)
        run_until(disk, merge, data)
        if not disk.lost:
            break
        if any(call.startswith("swap") for call in disk.calls):
            disk.revive()
            for cut in cuts(disk, partial(run_until, operation=merge, data=data), contents=("lost",)):
                for number, tree in enumerate(cut.trees):
                    assert ids(lay(tree, tmp_path / f"{killed_at}-{tries}-{number}")) == [*range(1, 7), 20, 21]
                tries += 1
        shutil.rmtree(data)
    assert tries > 50


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_refusal_of_any_call_is_one_sentence_and_loses_nothing_recorded(name: str, tmp_path: Path) -> None:
    prepare, operation = SCENARIOS[name]
    prepare(tmp_path / "before")
    held_before = everything(tmp_path / "before")
    whole = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    counting = PowerCut(whole)
    operation(whole, counting, set())
    starts = Starts(operation, ids(whole), tmp_path / "after")
    for fails_at in range(1, len(counting.calls) + 1):
        code = (errno.ENOSPC, errno.EIO, errno.EROFS)[fails_at % 3]
        data = shutil.copytree(tmp_path / "before", tmp_path / "now")
        disk = PowerCut(data, cut_at=fails_at, fails=code)
        acked = set(held_before)
        with same_names(), pytest.raises(DiskError, match=rf"^cannot .*: {os.strerror(code)}$"):
            operation(data, disk, acked)
        # And every other time the power goes as well.
        starts.check(next(disk.aftermaths()) if fails_at % 2 else lying(data), acked)
        shutil.rmtree(data)
