"""Merging what came from history files: days and candles with their proof, decided about as an import would."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from msgspec import structs

from recorder.archive import locks, merge_history
from recorder.archive.bulk_trades import BulkTrades
from recorder.archive.datasets import BULK_TRADES, Branch
from recorder.archive.imported_files import Prefer, read
from recorder.archive.imported_history import History
from recorder.archive.layout import Layout
from recorder.archive.merge_history import Brought
from recorder.disk import Disk, Room
from recorder.errors import DiskError
from tests.history import candles, classic
from tests.history.classic import PAIR, by_day, days, entry, imported, stored, tape
from tests.powercut import PowerCut, PowerLoss, Tree, Unsynced, lay, same_names

PLENTY = Room(1 << 40, 1 << 40)


def merged(ours: Path, theirs: Path, disk: Disk | None = None) -> dict[str, Brought]:
    """Merge, and return what came, by table."""
    disk = disk or Unsynced()
    locks.sweep_staging(Layout(ours), disk)
    found = merge_history.tables(Layout(ours), Layout(theirs), disk, room=lambda: PLENTY)
    return {one.dataset.name: one for one in found}


def counts(found: dict[str, Brought]) -> tuple[int, int, int]:
    """Return how many trades and candles came, and how many findings there are."""
    return (
        found["bulk_trades"].added,
        found["bulk_ohlc"].added,
        sum(len(one.findings) for one in found.values()),
    )


def witnesses(data: Path) -> dict[int, tuple[set[str], set[str]]]:
    """Return of each day the members that have its rows or a part of them, and those that differ."""
    found = {}
    for history in classic.histories(data).values():
        for day in history.days:
            equal = {history.members[one.member].short for one in (day.own, *day.equal)}
            found[day.day] = (equal, {history.members[one.member].short for one in day.differs})
    return found


@pytest.mark.parametrize("seed", range(2))
def test_days_are_those_of_all_members_whichever_archive_imported_them(tmp_path: Path, seed: int) -> None:
    chance, rows = random.Random(seed), tape(200, 5, seed)
    parts = [rows[:90], rows[50:], rows[20:150], rows]
    members = [entry(tmp_path / str(at) / "AB.csv", part) for at, part in enumerate(parts)]
    chance.shuffle(members)
    ours, theirs, both = (tmp_path / name for name in ("a", "b", "both"))
    imported(ours, *members[:2])
    imported(theirs, *members[2:])
    imported(both, *members)
    before = sum(map(len, stored(ours).values()))
    found = merged(ours, theirs)
    assert counts(found) == (sum(map(len, stored(both).values())) - before, 0, 0)
    assert stored(ours) == stored(both) == by_day(rows)
    assert witnesses(ours) == witnesses(both)
    assert [(day.from_us, day.until_us) for day in days(ours)] == [(day.from_us, day.until_us) for day in days(both)]
    files = sorted(ours.glob("bulk_trades/*/*/*"))
    assert counts(merged(ours, theirs)) == (0, 0, 0)
    assert sorted(ours.glob("bulk_trades/*/*/*")) == files, "nothing is written again"
    assert sum(one.added for one in imported(ours, *members)) == 0
    assert sorted(ours.glob("bulk_trades/*/*/*")) == files, "nothing is left of the members"


def test_a_day_that_differs_is_reported_at_each_merge_and_left_to_the_owner(tmp_path: Path) -> None:
    rows = tape(300, 3)
    other = list(rows)
    other[150] = (other[150][0], "9.99999", other[150][2])
    mine, their = entry(tmp_path / "1" / "AB.csv", rows), entry(tmp_path / "2" / "AB.csv", other)
    ours, theirs = tmp_path / "a", tmp_path / "b"
    imported(ours, mine)
    imported(theirs, their)
    middle = list(by_day(rows))[1]
    for _ in range(2):
        found = merged(ours, theirs)
        assert counts(found) == (0, 0, 1)
        (finding,) = found["bulk_trades"].findings
        held = len(by_day(rows)[middle])
        assert finding.problem.startswith(
            f"differs from what is stored here in 1 of 2 days of {PAIR} ({middle}: {held}"
        )
        assert "--prefer" in finding.remedy
        assert stored(ours) == by_day(rows)
    assert imported(ours, their)[0].differing.count == 1
    imported(ours, their, prefer=Prefer.NEW)
    assert stored(ours)[middle] == by_day(other)[middle]
    assert counts(merged(ours, theirs)) == (0, 0, 0)


def test_what_their_owner_has_not_decided_is_not_decided_here_either(tmp_path: Path) -> None:
    rows, ours, theirs = tape(300, 3), tmp_path / "a", tmp_path / "b"
    other = [row for at, row in enumerate(rows) if at != 150]
    mine, their = entry(tmp_path / "1" / "AB.csv", rows), entry(tmp_path / "2" / "AB.csv", other)
    imported(theirs, mine, their)
    imported(ours)
    assert counts(merged(ours, theirs)) == (300, 0, 0)
    assert witnesses(ours) == witnesses(theirs)
    assert imported(ours, their)[0].differing.count == 1


def test_candles_come_with_their_digits_and_the_time_that_their_member_covers(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a", tmp_path / "b"
    first = candles.candles(-30, 40)
    second = [*candles.candles(20, 30), *candles.candles(30, 32, "7"), *candles.candles(32, 60)]
    daily = [f"{candles.NEW_YEAR_S + day * 86_400},1,1,1,1,{day + 5}.000000000000000001,1" for day in range(-3, 3)]
    members = [
        candles.written(tmp_path / name, text)
        for name, text in (("1/AB_60.csv", first), ("2/AB_60.csv", second), ("3/AB_1440.csv", daily))
    ]
    candles.imported(ours, members[0])
    candles.imported(theirs, members[1], members[2])
    found = merged(ours, theirs)
    assert counts(found) == (0, 26, 1)
    assert (
        found["bulk_ohlc"]
        .findings[0]
        .problem.startswith(f"differs from what is stored here in 2 of 43 candles of {PAIR} ")
    )
    assert candles.stored(ours) == {"1h": candles.said([*first, *candles.candles(40, 60)]), "1d": candles.said(daily)}
    candles.imported(tmp_path / "both", *members)
    assert candles.series(ours) == candles.series(tmp_path / "both")
    files = sorted(ours.glob("bulk_ohlc/*/*/*"))
    assert counts(merged(ours, theirs)) == (0, 0, 1)
    assert sorted(ours.glob("bulk_ohlc/*/*/*")) == files, "nothing is written again"
    assert candles.imported(ours, members[1])[0].differing.count == 2


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    rows, ours, theirs = tape(200, 5), tmp_path / "a", tmp_path / "b"
    imported(ours, entry(tmp_path / "1" / "AB.csv", rows[:90]))
    imported(theirs, entry(tmp_path / "2" / "AB.csv", rows[50:]))
    candles.imported(theirs, candles.written(tmp_path / "AB_60.csv", candles.candles(-30, 40)))
    before = sorted(ours.rglob("*"))
    dry = merge_history.tables(Layout(ours), Layout(theirs), None, room=lambda: Room(0, 1))
    counted = counts({one.dataset.name: one for one in dry})
    assert sorted(ours.rglob("*")) == before
    assert counted == counts(merged(ours, theirs)) == (200 - len(rows[:90]), 70, 0)


def test_a_file_whose_rows_are_not_those_of_its_footer_is_left_out(tmp_path: Path) -> None:
    rows, ours, theirs = tape(60, 3), tmp_path / "a", tmp_path / "b"
    imported(theirs, entry(tmp_path / "AB.csv", rows))
    imported(ours)
    table = BulkTrades(Layout(theirs), Unsynced())
    with table.replacing(PAIR, 2020) as (held, write):
        assert held is not None
        history = held.footer.history or History()
        moved = tuple(structs.replace(day, day=day.day + 1) for day in history.days)
        write(read(held, BULK_TRADES), lambda footer: replace(footer, history=History(history.members, moved)))
    found = merged(ours, theirs)
    assert [one.problem for one in found["bulk_trades"].findings] == [
        "has other rows of 2020-01-02 than its footer claims"
    ]
    assert set(stored(ours)) == {date(2019, 12, 30), date(2019, 12, 31)}


def test_a_full_disk_ends_it_before_the_next_file(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a", tmp_path / "b"
    imported(theirs, entry(tmp_path / "AB.csv", tape(60, 4)))
    imported(ours)
    rooms = iter([PLENTY, Room(1, 1 << 40)])
    with pytest.raises(DiskError, match=r"bulk_trades A/B: stopped with \d+ rows added"):
        list(merge_history.tables(Layout(ours), Layout(theirs), Unsynced(), room=lambda: next(rooms)))
    assert sorted(classic.histories(ours)) == [2019]


def test_cut_at_any_call_it_goes_on_from_there_when_called_again(tmp_path: Path) -> None:
    rows, before, theirs = tape(20, 2, begins_s=classic.NEW_YEAR_S), tmp_path / "before", tmp_path / "b"
    imported(before, entry(tmp_path / "1" / "AB.csv", rows[:12]))
    imported(theirs, entry(tmp_path / "2" / "AB.csv", rows[4:]))
    counting = PowerCut(shutil.copytree(before, tmp_path / "whole"))
    merged(tmp_path / "whole", theirs, counting)
    for tree in aftermaths(before, theirs, tmp_path / "now", len(counting.calls)):
        after = lay(tree, tmp_path / "after")
        locks.recover_all(Layout(after), Unsynced(), [Branch(BULK_TRADES, PAIR)])  # as a fresh start does
        merged(after, theirs)
        assert stored(after) == by_day(rows)
        shutil.rmtree(after)


def aftermaths(before: Path, theirs: Path, data: Path, calls: int) -> Iterator[Tree]:
    """Yield what a power cut at each call leaves, each once."""
    checked: list[Tree] = []
    for cut_at in range(1, calls + 1):
        disk = PowerCut(shutil.copytree(before, data), cut_at=cut_at)
        with same_names(), pytest.raises(PowerLoss):
            merged(data, theirs, disk)
        for tree in disk.aftermaths(("lost",)):
            if tree not in checked:
                checked.append(tree)
                yield tree
        shutil.rmtree(data)
    assert len(checked) > calls / 4, "hardly any state differed: is the model at work?"
