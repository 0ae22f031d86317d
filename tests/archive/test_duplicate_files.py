from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from recorder.archive import duplicate_files, verify_tables
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.datasets import EVENTS, INSTRUMENTS, OHLC, TRADES, Branch
from recorder.archive.duplicate_files import MOVE_ONE_OUT
from recorder.archive.footer import Footer
from recorder.archive.integrity import Finding
from recorder.archive.parquet import FileFacts
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.core.model import Event
from recorder.core.trade_ids import Run, Span
from recorder.disk import Disk
from recorder.errors import CorruptFile, UnsoundFile
from tests.archives import START_US, Written, trades, writing
from tests.segments import named

TODAY = date(2030, 1, 1)


def run(first: int, last: int) -> Run:
    return Run("BTC/USD", Span(first, last), 0, 0)


def facts(path: Path, *segments: int, table: str = "events", rows: int = 3) -> FileFacts:
    if not path.exists():
        path.write_bytes(str(path).encode()[-8:])
    return FileFacts(path, Footer(table, segments=tuple(map(named, segments))), rows, path.stat().st_size)


def test_ids_in_two_files_are_found_whatever_their_order() -> None:
    a, b, c = Path("a"), Path("b"), Path("c")
    assert duplicate_files.same_ids([(run(1, 3), a), (run(4, 6), b), (run(8, 9), a)]) == []
    assert duplicate_files.same_ids([(run(3, 6), b), (run(1, 3), a)]) == [
        Finding(b, "holds id 3 as a does", MOVE_ONE_OUT)
    ]
    assert [one.file for one in duplicate_files.same_ids([(run(1, 9), a), (run(2, 3), b), (run(7, 7), c)])] == [b, c]


def test_a_segment_is_one_file_in_each_folder(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    found = duplicate_files.same_segments(EVENTS, [facts(one, 1, 2), facts(two, 2, 3), facts(other, 4)])
    assert found == [Finding(two, f"holds segment {named(2)} as {one} does", MOVE_ONE_OUT)]
    (tmp_path / "year=2024").mkdir()
    assert duplicate_files.same_segments(EVENTS, [facts(one, 1), facts(tmp_path / "year=2024" / "x", 1)]) == []


def test_merged_rows_are_copies_only_if_their_bytes_are_equal(tmp_path: Path) -> None:
    one, two, copy = (tmp_path / name for name in ("one", "two", "three"))
    for dataset, brought in ((OHLC, ()), (INSTRUMENTS, (5,))):
        several = [facts(one, *brought), facts(two, *brought)]
        assert duplicate_files.same_segments(dataset, several) == []
        shutil.copy(two, copy)
        found = duplicate_files.same_segments(dataset, [*several, facts(copy, *brought)])
        assert [(one.problem, one.remedy) for one in found] == [(f"is a copy of {copy}", MOVE_ONE_OUT)]
    assert duplicate_files.same_segments(OHLC, [facts(one, rows=0), facts(copy, rows=0)]) == []


def test_an_error_tells_the_first_and_how_many_more_there_are() -> None:
    duplicate_files.check([])
    one, two = (Finding(Path(name), "holds id 1 as x does", MOVE_ONE_OUT) for name in "ab")
    with pytest.raises(UnsoundFile, match=r"^a holds id 1 as x does: move one of the two out of the archive$"):
        duplicate_files.check([one])
    with pytest.raises(UnsoundFile, match=r"^a holds id 1 as x does \(1 more .*`recorder verify` names them\)"):
        duplicate_files.check([one, two])


@pytest.fixture
def archive(tmp_path: Path) -> Written:
    with writing(tmp_path / "data") as written:
        for first in range(1, 40, 2):
            written.append(trades(first, first + 1))
            written.noted(Event(START_US + first, "connected", None, "{}"))
    return written


def test_compaction_names_the_files_and_changes_nothing(archive: Written, tmp_path: Path) -> None:
    path = archive.files()[3]
    copy = Path(shutil.copy(path, path.with_name("copy.parquet")))
    before = archive.files()
    opened = TradeArchive(archive.layout, Disk(), staging=tmp_path)
    with pytest.raises(CorruptFile) as told:
        compact(opened, "BTC/USD", today=TODAY)
    assert {str(path), str(copy)} <= set(str(told.value).replace(":", "").split())
    assert archive.files() == before
    copy.unlink()
    assert compact(opened, "BTC/USD", today=TODAY) is not None


def test_compaction_names_files_of_events_and_so_does_verify(archive: Written, tmp_path: Path) -> None:
    folder = archive.data / "events" / "year=2025"
    path = sorted(folder.iterdir())[3]
    copy = Path(shutil.copy(path, folder / "zz.parquet"))
    with pytest.raises(CorruptFile, match=f"{copy} holds segment {named(4)} as {path} does"):
        compact_segments(Segments(archive.layout, Disk(), staging=tmp_path), Branch(EVENTS), today=TODAY)
    assert list(verify_tables.findings(archive.layout)) == [
        Finding(copy, f"holds segment {named(4)} as {path} does", MOVE_ONE_OUT)
    ]
    assert duplicate_files.in_table(archive.layout, EVENTS) == list(verify_tables.findings(archive.layout))
    copy.unlink()
    assert list(verify_tables.findings(archive.layout)) == duplicate_files.in_table(archive.layout, EVENTS) == []
    assert duplicate_files.in_table(archive.layout, TRADES) == []
