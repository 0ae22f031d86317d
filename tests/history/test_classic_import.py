"""Trades without ids: the rows of each day come from one member, whatever overlaps, in any order, and once."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.archive import locks, verify_tables
from recorder.archive.datasets import BULK_TRADES, Branch
from recorder.archive.imported_files import Prefer
from recorder.archive.layout import Layout, digest_in, new_name
from recorder.disk import Room
from recorder.errors import DiskError, UnsoundFile
from recorder.history.bulk_import import BulkImport
from recorder.history.classic_import import ClassicImport
from recorder.history.members import Member
from recorder.kraken import history_files as lines
from tests.archive.rows import archive
from tests.history.classic import DAY_S, PAIR, POSSIBLE, by_day, days, entry, histories, imported, stored, tape
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "real" / "time_and_sales"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not at hand")
def test_the_real_samples_come_row_by_row_and_digit_by_digit(tmp_path: Path, order: tuple[int, int]) -> None:
    paths = [REAL / "BCHEUR.csv", REAL / "BCHEUR_2023-01-02.csv"]
    text = [path.read_text().splitlines() for path in paths]
    entries = [
        entry(tmp_path / str(at) / "BCHEUR.csv", [(int(s), p, q) for s, p, q in (line.split(",") for line in one)])
        for at, one in enumerate(text)
    ]
    assert [one.member.digest() for one in entries] == [
        Member(path, lines.MemberName("X"), 1).digest() for path in paths
    ]
    for _ in range(2):
        imported(tmp_path / "data", *(entries[at] for at in order))
        found = stored(tmp_path / "data")
        assert list(map(len, found.values())) == [148, 486]
        printed = [f"{second},{price:.6f},{qty:.8f}" for rows in found.values() for second, price, qty in rows]
        assert printed == [*text[0], *text[1]]


def test_a_member_comes_once_and_a_part_of_it_is_noted_as_equal(tmp_path: Path) -> None:
    rows, data = tape(400, 5), tmp_path / "data"
    whole, part = entry(tmp_path / "whole" / "AB.csv", rows), entry(tmp_path / "part" / "AB.csv", rows[90:310])
    (first,) = imported(data, whole)
    assert (first.rows, first.added, first.days) == (400, 400, {"added": 5})
    before = sorted(data.glob("bulk_trades/*/*/*"))
    (again,) = imported(data, whole)
    assert (again.added, again.compared, again.days) == (0, 400, {"stored before": 5})
    assert sorted(data.glob("bulk_trades/*/*/*")) == before
    (second,) = imported(data, part)
    assert (second.added, second.compared, set(second.days)) == (0, 220, {"equal"})
    assert stored(data) == by_day(rows)
    held = days(data)
    assert [len(day.equal) for day in held] == [len(day.equal) for day in held if not day.differs]
    assert sum(one.last_row - one.first_row + 1 for day in held for one in day.equal) == 220


def test_an_extension_takes_the_place_of_a_day_that_was_cut(tmp_path: Path) -> None:
    rows, data = tape(400, 5), tmp_path / "data"
    parts = [
        entry(tmp_path / str(at) / "AB.csv", part) for at, part in enumerate((rows[:150], rows[260:], rows[70:330]))
    ]
    results = imported(data, *parts)
    assert stored(data) == by_day(rows)
    assert results[2].days["extended"] == 2
    assert results[2].differing.count == 0
    held = days(data)
    assert [day.from_us % (DAY_S * 1_000_000) == 0 for day in held] == [False, True, True, True, True]
    assert [(day.until_us - day.from_us) == DAY_S * 1_000_000 for day in held] == [False, True, True, True, False]


def test_days_that_differ_are_decided_by_the_user(tmp_path: Path) -> None:
    rows, data = tape(300, 3), tmp_path / "data"
    other = list(rows)
    other[150] = (other[150][0], "9.99999", other[150][2])
    mine, theirs = entry(tmp_path / "1" / "AB.csv", rows), entry(tmp_path / "2" / "AB.csv", other)
    imported(data, mine)
    for _ in range(2):
        (found,) = imported(data, theirs)
        assert (found.added, found.differing.count) == (0, 1)
        assert found.differing.first[0].startswith(str(list(by_day(rows))[1]))
        assert stored(data) == by_day(rows)
    (kept,) = imported(data, theirs, prefer=Prefer.HELD)
    assert kept.differing.count == 0
    assert stored(data) == by_day(rows)
    (taken,) = imported(data, theirs, prefer=Prefer.NEW)
    assert (taken.days["replaced"], taken.differing.count) == (1, 0)
    assert stored(data) == by_day(rows) | {list(by_day(rows))[1]: by_day(other)[list(by_day(rows))[1]]}
    assert [len(day.differs) for day in days(data)] == [0, 1, 0]
    assert imported(data, mine)[0].differing.count == 1


def test_a_day_of_fewer_rows_that_no_cut_explains_differs_in_either_order(tmp_path: Path) -> None:
    rows = tape(300, 3)
    fewer = rows[:199] + rows[200:]  # in the middle of a day
    middle = list(by_day(rows))[1]
    last = max(at for at, row in enumerate(rows) if datetime.fromtimestamp(row[0], UTC).date() == middle)
    shorter = rows[:last] + rows[last + 1 :]
    for number, (less, differs) in enumerate(((fewer, True), (shorter, False))):
        pair = [entry(tmp_path / f"{number}{at}" / "AB.csv", part) for at, part in enumerate((rows, less))]
        (_, found) = imported(tmp_path / f"data{number}", *pair)
        assert found.differing.count == 1
        assert stored(tmp_path / f"data{number}") == by_day(rows)
        (_, found) = imported(tmp_path / f"back{number}", *reversed(pair))
        assert (found.differing.count == 1) is differs
        assert (stored(tmp_path / f"back{number}") == by_day(rows)) is not differs
        assert sum(len(day.differs) for day in days(tmp_path / f"back{number}")) == 1


def test_a_year_that_was_moved_away_is_imported_again(tmp_path: Path) -> None:
    rows, data = tape(300, 4), tmp_path / "data"
    member = entry(tmp_path / "AB.csv", rows)
    imported(data, member)
    for year in (2019, 2020):
        (file,) = (data / "bulk_trades" / "pair=A%2FB" / f"year={year}").iterdir()
        file.unlink()
        imported(data, member)
        assert stored(data) == by_day(rows)


def test_a_file_beside_another_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data, member = tmp_path / "data", entry(tmp_path / "AB.csv", tape(50, 1))
    imported(data, member)
    (file,) = data.glob("bulk_trades/pair=A*/*/*")
    shutil.copy(file, file.with_name(new_name(2019, 2019, digest_in(file.name) or "")))
    with pytest.raises(UnsoundFile, match=r"lies beside .*move one of the two"):
        imported(data, member)
    assert [found.problem.partition(" ")[0] for found in verify_tables.findings(Layout(data))] == ["lies"]


def test_a_full_disk_ends_it_before_the_next_year(tmp_path: Path) -> None:
    member = entry(tmp_path / "AB.csv", tape(100, 4))
    with archive(tmp_path / "data", Unsynced()) as opened:
        rooms = iter([Room(1 << 40, 1 << 40), Room(1, 1 << 40)])
        job = ClassicImport(BulkImport(opened, lambda: next(rooms), POSSIBLE))
        with pytest.raises(DiskError, match="stopped before its year 2020"):
            job.member(member, member.member.digest(), lambda _: None)
    assert sorted(histories(tmp_path / "data")) == [2019]
    imported(tmp_path / "data", member)
    assert sorted(histories(tmp_path / "data")) == [2019, 2020]


@pytest.mark.parametrize("seed", range(4))
def test_each_day_is_of_one_member_and_no_other_member_has_more_of_it(tmp_path: Path, seed: int) -> None:
    """Whatever overlaps, in any order, and however often the process is killed on the way."""
    chance = random.Random(seed)
    rows, data = tape(60, 4, seed), tmp_path / "data"
    members = []
    for number in range(4):
        part = rows[chance.randrange(30) : chance.randrange(35, 61)]
        if number == 3:
            part = [row for row in part if row != part[len(part) // 2]]
        members.append((entry(tmp_path / str(number) / "AB.csv", part), by_day(part)))
    chance.shuffle(members)
    imported(data)
    for member, _ in members:
        while True:
            disk = PowerCut(data, cut_at=chance.randrange(1, 90))
            with contextlib.suppress(PowerLoss):
                imported(data, member, disk=disk)
                break
    found = stored(data)
    assert set(found) == {day for _, has in members for day in has}
    for day, held in found.items():
        pieces = [has[day] for _, has in members if day in has]
        assert held in pieces
        assert not [piece for piece in pieces if len(piece) > len(held) and _contains(piece, held)]
    again = [imported(data, member)[0] for member, _ in members]
    assert stored(data) == found
    assert sum(one.added for one in again) == 0


def _contains(whole: list[tuple[int, Decimal, Decimal]], part: list[tuple[int, Decimal, Decimal]]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_power_cut_at_any_call_leaves_each_year_before_or_after_a_member(tmp_path: Path, *, can_swap: bool) -> None:
    rows = tape(40, 4)
    first, second = entry(tmp_path / "1" / "AB.csv", rows[:25]), entry(tmp_path / "2" / "AB.csv", rows[15:])
    imported(tmp_path / "before", first)
    before = stored(tmp_path / "before")
    whole = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    counting = PowerCut(whole, can_swap=can_swap)
    imported(whole, second, disk=counting)
    complete = stored(whole)
    assert complete == by_day(rows)
    years = {day.year for day in complete}
    checked = []
    # Without a swap, only what replaces it is different.
    begins = 1 if can_swap else min(at for at, call in enumerate(counting.calls, 1) if "aside" in call)
    for cut_at in range(begins, len(counting.calls) + 1):
        data = shutil.copytree(tmp_path / "before", tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at, can_swap=can_swap)
        names = itertools.count(1 << 40)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(PowerLoss):
            patch.setattr(uuid, "uuid4", lambda names=names: uuid.UUID(int=next(names) << 64))
            imported(data, second, disk=disk)
        for tree in disk.aftermaths():
            if tree in checked:
                continue
            checked.append(tree)
            after = lay(tree, tmp_path / "after")
            locks.recover_all(Layout(after), Unsynced(), [Branch(BULK_TRADES, PAIR)])  # as a fresh start does
            found = stored(after, verified=False)
            for year in years:
                of_year = {day: rows for day, rows in found.items() if day.year == year}
                states = [{day: rows for day, rows in one.items() if day.year == year} for one in (before, complete)]
                assert of_year in states, f"cut at call {cut_at}, before {disk.calls[-1]}"
            imported(after, second)
            assert stored(after, verified=False) == complete
            shutil.rmtree(after)
        shutil.rmtree(data)
    assert len(checked) > (len(counting.calls) - begins) / 3, "hardly any state differed: is the model at work?"
