from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import subprocess
import sys
from collections.abc import Hashable
from datetime import date
from pathlib import Path
from random import Random

import pytest

from recorder.archive import quarantine, read_trades, stored_evidence
from recorder.archive.compaction import compact
from recorder.archive.disown import DisownResult, disown, reclaim
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Reason
from recorder.core.model import Trade
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk
from recorder.errors import CorruptFile, DiskError
from tests.archive.rows import PAIR, START_US, YEAR_END_US, archive, held, ids, over_new_year, trade, trades
from tests.powercut import Content, Frozen, PowerCut, Unsynced, cuts, frozen, lay, lying

LET_GO = Spans([Span(2, 3), Span(8, 8), Span(11, 12)])
NOW_US = START_US + 10**12


def written(data: Path) -> None:
    """Two years, of one pair, in files that lose all their rows, some, or none; and another pair."""
    with archive(data, Unsynced()) as opened:
        opened.append(PAIR, over_new_year(range(1, 9)))
        opened.append(PAIR, [trade(one, YEAR_END_US + one) for one in (11, 12)])
        opened.append(PAIR, [trade(one, YEAR_END_US + one) for one in (20, 21)])
        opened.append("ETH/USD", trades(1, 5, pair="ETH/USD"))


def let_go(data: Path, disk: Disk) -> DisownResult:
    with archive(data, disk) as opened:
        return disown(opened, PAIR, LET_GO, now_us=NOW_US, reason="odd")


def take_back(data: Path, disk: Disk) -> DisownResult:
    with archive(data, disk) as opened:
        return reclaim(opened, PAIR, LET_GO, now_us=NOW_US)


def stored(data: Path) -> dict[int, Trade]:
    return {row.trade_id: row for row in read_trades.trades(Layout(data), PAIR)}


def set_aside(data: Path) -> dict[int, Trade]:
    kept = [one for one in quarantine.listed(Layout(data)) if one.reason == Reason.DISOWNED]
    return {row.trade_id: row for row in map(quarantine.row_of, kept)}


def disowned(data: Path) -> Spans:
    return stored_evidence.read(Layout(data)).absent(PAIR).disowned


def test_rows_leave_the_archive_for_the_quarantine_and_come_back_as_they_were(tmp_path: Path) -> None:
    written(tmp_path)
    before, others = stored(tmp_path), ids(tmp_path, "ETH/USD")
    assert let_go(tmp_path, Unsynced()) == DisownResult(LET_GO, 5)
    assert ids(tmp_path) == [1, 4, 5, 6, 7, 20, 21]
    assert set_aside(tmp_path) == {one: before[one] for one in (2, 3, 8, 11, 12)}
    assert disowned(tmp_path) == LET_GO
    assert {one.why for one in quarantine.listed(Layout(tmp_path))} == {"id disowned: odd"}
    assert let_go(tmp_path, Unsynced()) == DisownResult(Spans(), 0)
    assert take_back(tmp_path, Unsynced()) == DisownResult(LET_GO, 5)
    assert stored(tmp_path) == before
    assert not disowned(tmp_path)
    assert take_back(tmp_path, Unsynced()) == DisownResult(Spans(), 0)
    assert ids(tmp_path, "ETH/USD") == others


def test_ids_that_are_disowned_are_not_archived_whatever_brings_them(tmp_path: Path) -> None:
    written(tmp_path)
    with archive(tmp_path, Unsynced()) as beside:  # opened before, as by a recorder that runs on
        beside.append(PAIR, trades(30, 31))
        let_go(tmp_path, Unsynced())
        assert beside.append(PAIR, trades(1, 12)) == Spans([Span(9, 10)])
        compact(beside, PAIR, today=date(9999, 1, 1))
        take_back(tmp_path, Unsynced())
        assert beside.append(PAIR, trades(1, 12)) == Spans()
    assert ids(tmp_path) == [*range(1, 13), 20, 21, 30, 31]


def test_ids_that_were_never_held_can_be_disowned_and_are_wanted_again_afterwards(tmp_path: Path) -> None:
    written(tmp_path)
    far = Spans([Span(2**40, 2**40)])
    with archive(tmp_path, Unsynced()) as opened:
        assert disown(opened, PAIR, far, now_us=NOW_US, reason="odd") == DisownResult(far, 0)
        assert opened.append(PAIR, [trade(2**40, START_US)]) == Spans()
        assert reclaim(opened, PAIR, far, now_us=NOW_US) == DisownResult(far, 0)
        assert opened.append(PAIR, [trade(2**40, START_US)]) == far


def test_a_clock_that_was_set_back_does_not_undo_what_is_done_later(tmp_path: Path) -> None:
    written(tmp_path)
    with archive(tmp_path, Unsynced()) as opened:
        for step in range(3):
            disown(opened, PAIR, LET_GO, now_us=NOW_US - step, reason="odd")
            assert disowned(tmp_path) == LET_GO
            reclaim(opened, PAIR, LET_GO, now_us=NOW_US - step)
            assert not disowned(tmp_path)


def test_a_damaged_file_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    written(tmp_path)
    (path,) = [one for one in Layout(tmp_path).trade_files(PAIR) if one.name.startswith("000000000011")]
    content = bytearray(path.read_bytes())
    content[10] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="nothing was changed"):
        let_go(tmp_path, Unsynced())
    assert not disowned(tmp_path)
    assert len(Layout(tmp_path).trade_files(PAIR)) == 4


def ended(data: Path, operation: str) -> bool:
    """Return whether no row is lost, and whether the operation is done."""
    before = {**{one: trade(one, row.time_us) for one, row in stored(data).items()}, **set_aside(data)}
    assert sorted(before) == [*range(1, 9), 11, 12, 20, 21]
    held = stored(data)
    if operation == "let go":
        assert disowned(data) in (Spans(), LET_GO)
        return disowned(data) == LET_GO and sorted(held) == [1, 4, 5, 6, 7, 20, 21]
    assert disowned(data) or sorted(held) == sorted(before), "wanted again before the rows are there"
    return not disowned(data)


@pytest.mark.parametrize("can_swap", [True, False])
@pytest.mark.parametrize("operation", ["let go", "take back"])
def test_wherever_the_power_fails_no_row_is_lost_and_doing_it_again_ends_it(
    tmp_path: Path, operation: str, *, can_swap: bool
) -> None:
    run = let_go if operation == "let go" else take_back
    written(tmp_path / "before")
    if operation == "take back":
        let_go(tmp_path / "before", Unsynced())
    now = shutil.copytree(tmp_path / "before", tmp_path / "now")
    done = False

    def operate(disk: PowerCut) -> None:
        nonlocal done
        run(now, disk)
        done = True

    checked: set[tuple[Frozen, Hashable]] = set()
    contents: tuple[Content, ...] = ("lost", "whole") if can_swap else ("lost",)
    for cut in cuts(PowerCut(now, can_swap=can_swap), operate, contents=contents, noted=lambda: done):
        for tree in cut.trees:
            after = lay(tree, tmp_path / "after")
            with archive(after, Unsynced()):  # a fresh start, which mends
                pass
            if (key := (frozen(lying(after)), cut.noted)) not in checked:
                checked.add(key)
                assert ended(after, operation) or not cut.noted, f"cut before {cut.before}"
                run(after, Unsynced())
                assert ended(after, operation), f"cut before {cut.before}"
            shutil.rmtree(after)
    assert done
    assert len(checked) > 3


DIES = """
import os, signal, sys
import pyarrow.compute, pyarrow.parquet
import recorder.cli.disown
from recorder.cli import main
from recorder.disk import Disk
folder, *points = sys.argv[1:]
devnull = os.open(os.devnull, os.O_WRONLY)

def killing(right, left):
    def call(*arguments, **options):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return right(*arguments, **options)
    return call

for point in points:
    child = os.fork()
    if not child:
        left = [int(point)]
        for name, right in vars(Disk).items():
            if not name.startswith("_") and name != "close":
                setattr(Disk, name, killing(right, left))
        os.dup2(devnull, 1)
        sys.argv = ["recorder", "disown", "BTC/USD", "2-3", "8", "11-12", "--data", f"{folder}/{point}"]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""`recorder disown` in a process for each point, which kills itself (kill -9) at that call of the disk.

They are forked, since what takes time is to import.
"""
CALLS = 40
"""Calls of the disk it takes, at least."""


def test_killed_at_any_call_it_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    points = Random(11).sample(range(1, CALLS + 1), 5)
    written(tmp_path / "before")
    for point in points:
        shutil.copytree(tmp_path / "before", tmp_path / str(point))
    command = [sys.executable, "-c", DIES, str(tmp_path), *map(str, points)]
    ended_by = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended_by.stdout.split() == [str(-signal.SIGKILL)] * len(points), ended_by.stderr
    for point in points:
        data = tmp_path / str(point)
        with archive(data, Unsynced()):  # a fresh start, which mends
            pass
        ended(data, "let go")
        let_go(data, Unsynced())
        assert ended(data, "let go")
        assert sorted(held(data)[PAIR].ids) == [1, 4, 5, 6, 7, 20, 21]
        assert take_back(data, Unsynced()).rows == LET_GO.count()
        assert sorted(held(data)[PAIR].ids) == [*range(1, 9), 11, 12, 20, 21]


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path / "before")
    for fails_at in itertools.count(1, 7):
        data = shutil.copytree(tmp_path / "before", tmp_path / "now")
        disk = PowerCut(data, fails=28, cut_at=fails_at)
        with contextlib.suppress(DiskError):
            let_go(data, disk)
            return
        let_go(data, Unsynced())
        assert ended(data, "let go")
        shutil.rmtree(data)
