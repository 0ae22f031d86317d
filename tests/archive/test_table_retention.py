"""Old rows go by whole files, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.archive import verify_tables
from recorder.archive.datasets import QUOTE_SESSIONS, QUOTES, Branch
from recorder.archive.segment_tables import Segments
from recorder.archive.table_retention import expire
from recorder.disk import Disk
from recorder.errors import CorruptFile
from tests.archives import START_US, quote, writing

DAY_US = 86_400_000_000
BTC = "BTC/USD"


def test_only_files_all_of_whose_rows_are_older_are_removed(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        for day in range(4):
            rows = [quote(day + 1, message, START_US + day * DAY_US + message) for message in range(3)]
            archive.quoted(rows, ended={(BTC, day + 1): START_US + day * DAY_US + 9})
        segments = Segments(archive.layout, Disk(), staging=archive.layout.staging)
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US) == 0
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US + 2 * DAY_US + 1) == 2
        assert expire(segments, Branch(QUOTES, BTC), before_us=START_US + 2 * DAY_US + 2) == 0, (
            "its newest row is as old"
        )
        assert expire(segments, Branch(QUOTE_SESSIONS), before_us=START_US + 2 * DAY_US) == 2
        for branch in (Branch(QUOTES, BTC), Branch(QUOTE_SESSIONS)):
            assert len([path for path in archive.layout.files(branch) if path.name != "schema.parquet"]) == 2
            assert archive.layout.schema_file(branch.dataset).exists()
        assert list(verify_tables.findings(archive.layout)) == []


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
