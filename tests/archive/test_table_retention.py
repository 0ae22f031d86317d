"""Old rows go, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import recorder
from recorder.archive import locks, verify_tables
from recorder.archive.datasets import QUOTE_SESSIONS, QUOTES, Branch
from recorder.archive.layout import Layout
from recorder.archive.parquet import FileFacts
from recorder.archive.segment_tables import Segments
from recorder.archive.table_retention import expire
from recorder.disk import Disk
from recorder.errors import CorruptFile
from tests.archives import START_US, quote, writing
from tests.powercut import PowerCut, PowerLoss, Tree, Unsynced, lay, same_names

DAY_US = 86_400_000_000
BTC, ETH = "BTC/USD", "ETH/USD"


def test_rows_from_before_the_limit_go_with_their_files_or_out_of_them_and_nothing_else_does(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        for day in range(4):
            rows = [quote(day + 1, message, START_US + day * DAY_US + message) for message in range(3)]
            archive.quoted(rows, ended={(BTC, day + 1): START_US + day * DAY_US + 9})
        archive.quoted([quote(9, 0, START_US + 2 * DAY_US, pair=ETH)])
        segments = Segments(archive.layout, Disk(), staging=archive.layout.staging)
        named = {facts.path: facts.footer.segments for facts in _files(segments, Branch(QUOTES, BTC))}

        def left() -> list[tuple[int, int]]:
            with recorder.connect(archive.data) as opened:
                found = opened.sql("SELECT session, message FROM quotes ORDER BY pair, session, message", to="arrow")
            return [(row["session"], row["message"]) for row in found.to_pylist()]

        everything = left()
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US) == 0
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US + 2 * DAY_US + 1) == 7
        assert left() == [row for row in everything if row >= (3, 1)]
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US + 2 * DAY_US + 1) == 0
        assert [facts.footer.segments for facts in _files(segments, Branch(QUOTES, BTC))] == [*named.values()][2:]
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US + 2 * DAY_US + 3) == 2
        assert left() == [row for row in everything if row >= (4, 0)]
        assert expire(segments, Branch(QUOTE_SESSIONS), before_us=START_US + 2 * DAY_US) == 2
        assert archive.layout.schema_file(QUOTE_SESSIONS).exists()
        assert list(verify_tables.findings(archive.layout)) == []


def test_a_power_cut_at_any_call_leaves_each_row_once_or_a_file_as_it_was(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        for session in (1, 2):
            archive.quoted([quote(session, message, START_US + session * 10 + message) for message in range(3)])
    branch, before_us = Branch(QUOTES, BTC), START_US + 21

    def expired(data: Path, disk: Disk) -> int:
        layout = Layout(data)
        locks.sweep_staging(layout, disk)
        return expire(Segments(layout, disk, staging=layout.staging), branch, before_us=before_us)

    def held(data: Path) -> list[tuple[int, int]]:
        with locks.branch_lock(Layout(data), branch):
            locks.recover(Layout(data), Unsynced(), branch)
        found = [pq.ParquetFile(path).read() for path in Layout(data).files(branch)]
        return sorted((row["session"], row["message"]) for rows in found for row in rows.to_pylist())

    counting = PowerCut(shutil.copytree(tmp_path / "data", tmp_path / "whole"))
    assert expired(tmp_path / "whole", counting) == 4
    before, after = held(tmp_path / "data"), held(tmp_path / "whole")
    assert (len(before), after) == (6, [(2, 1), (2, 2)])
    checked: list[Tree] = []
    for cut_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(tmp_path / "data", tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at)
        with same_names(), pytest.raises(PowerLoss):
            expired(data, disk)
        for tree in disk.aftermaths(("lost",)):
            if tree in checked:
                continue
            checked.append(tree)
            laid = lay(tree, tmp_path / "after")
            assert held(laid) in (before, after), f"cut at call {cut_at}, before {disk.calls[-1]}"
            expired(laid, Unsynced())
            assert held(laid) == after
            shutil.rmtree(laid)
        shutil.rmtree(data)
    assert len(checked) > 5


def _files(segments: Segments, branch: Branch) -> list[FileFacts]:
    with segments.locked(branch):
        return segments.files(branch)


def test_a_file_that_cannot_be_read_is_no_old_one(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        archive.quoted([quote(1, 0, START_US)])
        (path,) = archive.layout.files(Branch(QUOTES, BTC))
        path.write_bytes(b"junk")
        with pytest.raises(CorruptFile):
            expire(
                Segments(archive.layout, Disk(), staging=archive.layout.staging), Branch(QUOTES, BTC), before_us=2**60
            )
        assert path.exists()
