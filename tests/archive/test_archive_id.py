"""The id of an archive: there from the beginning, found again when it is lost, and never that of two archives."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recorder.archive import archive_id, locks, parquet
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create, opened
from recorder.archive.parquet import read_facts
from recorder.disk import Disk
from recorder.errors import DiskError
from tests.archive.events import write_events
from tests.archive.rows import PAIR, archive, trades
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay


def named_in_footers(data: Path) -> set[str]:
    paths = (path for path in data.rglob("*.parquet") if path.name != "schema.parquet")
    return {read_facts(path).footer.archive for path in paths}


def begin(data: Path, disk: Disk | None = None) -> str:
    """Create an archive with trades and events; return its id."""
    data.mkdir(exist_ok=True)
    write_events(data, 1, 1, 2, disk)  # type: ignore[arg-type]
    with archive(data, disk or Unsynced()) as writer:
        writer.append(PAIR, trades(1, 3))
    return archive_id.read(data)


def reopened(data: Path) -> str:
    """Open an archive for writing; return its id."""
    with archive(data, Unsynced()) as writer:
        assert writer.id == archive_id.read(data)
        return writer.id


def test_it_is_a_uuid_that_is_there_from_the_beginning_and_in_the_footer_of_every_file_with_rows(
    tmp_path: Path,
) -> None:
    found = begin(tmp_path)
    assert str(uuid.UUID(found)) == found
    assert named_in_footers(tmp_path) == {found}
    assert reopened(tmp_path) == found


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def no_id(path: Path) -> None:
    path.write_text(json.dumps({"id": "us", "inode": 1}))


@pytest.mark.parametrize("lose", [Path.unlink, emptied, no_id], ids=["removed", "emptied", "no id"])
def test_lost_or_damaged_it_is_restored_from_footers(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    found = begin(tmp_path)
    (tmp_path / "trades" / "pair=A%2FB").mkdir()
    (tmp_path / "trades" / "pair=A%2FB" / "year=2025").write_text("no folder")
    lose(tmp_path / archive_id.FILE)
    assert archive_id.read(tmp_path) == ""
    assert reopened(tmp_path) == found


def test_where_footers_name_several_or_none_it_is_a_new_one(tmp_path: Path) -> None:
    ours, theirs = begin(tmp_path / "a"), begin(tmp_path / "b")
    for path in (tmp_path / "b" / "events" / "year=2026").glob("0*.parquet"):
        shutil.copy(path, tmp_path / "a" / "events" / "year=2026")
    assert named_in_footers(tmp_path / "a") == {ours, theirs}
    assert reopened(tmp_path / "a") == ours, "footers are not asked while it is there"
    (tmp_path / "a" / archive_id.FILE).unlink()
    assert reopened(tmp_path / "a") not in {ours, theirs, ""}
    shutil.rmtree(tmp_path / "b")
    nameless = begin(tmp_path / "b")
    for path in (tmp_path / "b" / "trades").rglob("0*.parquet"):
        path.unlink()
    for path in (tmp_path / "b" / "events").rglob("0*.parquet"):
        table = pq.ParquetFile(path).read()
        parquet.write(table, Footer("events", archive="us"), path, Unsynced(), staged_in=tmp_path)
    (tmp_path / "b" / archive_id.FILE).unlink()
    assert reopened(tmp_path / "b") not in {ours, theirs, nameless, "us", ""}


def recording(data: Path, disk: Disk | None = None) -> str:
    """Open an archive as the process does that journals; return its id."""
    with opened(Layout(data), disk or Unsynced(), journals=True) as writer:
        return writer.id


def test_a_copy_gets_its_own_before_it_is_recorded_in_and_the_original_keeps_its_id(tmp_path: Path) -> None:
    found = begin(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert reopened(tmp_path / "b") == found, "who does not journal names no segment"
    copied = recording(tmp_path / "b")
    assert copied not in {found, ""}
    assert recording(tmp_path / "b") == copied
    (tmp_path / "a").rename(tmp_path / "moved")
    assert recording(tmp_path / "moved") == found


def test_a_power_cut_at_any_call_while_an_archive_begins_leaves_one_that_has_the_id_of_its_footers(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    counting = PowerCut(tmp_path / "whole")
    begin(tmp_path / "whole", counting)
    last = max(at for at, call in enumerate(counting.calls, 1) if archive_id.FILE in call)
    for cut_at in range(1, last + 3):
        data = tmp_path / str(cut_at)
        data.mkdir()
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.raises(PowerLoss):
            begin(data, disk)
        for number, tree in enumerate(disk.aftermaths()):
            after = lay(tree, tmp_path / f"{cut_at} {number}")
            named = named_in_footers(after)
            found = begin(after)
            assert named <= {found} or len(named) > 1
            assert uuid.UUID(found)


def test_a_power_cut_at_any_call_while_a_copy_gets_its_id_leaves_one_that_is_not_the_originals(
    tmp_path: Path,
) -> None:
    found = begin(tmp_path / "a")
    counting = PowerCut(shutil.copytree(tmp_path / "a", tmp_path / "b"))
    recording(tmp_path / "b", counting)
    calls = [at for at, call in enumerate(counting.calls, 1) if archive_id.FILE in call]
    for cut_at in range(calls[0], calls[-1] + 2):
        data = shutil.copytree(tmp_path / "a", tmp_path / str(cut_at))
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.raises(PowerLoss):
            recording(data, disk)
        for number, tree in enumerate(disk.aftermaths()):
            after = lay(tree, tmp_path / f"{cut_at} {number}")
            assert recording(after) not in {found, ""}


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / archive_id.FILE).mkdir()
    with pytest.raises(DiskError, match=rf"^cannot read {tmp_path / archive_id.FILE}: Is a directory$"):
        create(Layout(tmp_path), Unsynced())


def test_of_two_processes_that_find_none_the_second_takes_what_the_first_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, disk = Layout(tmp_path), Unsynced()
    create(layout, disk)
    (tmp_path / archive_id.FILE).unlink()
    alone, first = archive_id._alone, list[str]()

    @contextmanager
    def after_another(layout: Layout) -> Iterator[None]:
        monkeypatch.setattr(archive_id, "_alone", alone)
        with locks.staging(layout, disk) as staging:
            archive_id.ensure(layout, disk, staging)
        first.append(archive_id.read(tmp_path))
        with alone(layout):
            yield

    monkeypatch.setattr(archive_id, "_alone", after_another)
    with locks.staging(layout, disk) as staging:
        archive_id.ensure(layout, disk, staging)
    assert [archive_id.read(tmp_path)] == first
