"""A table without ids that needs no rule: there by its entry, its class and its source, it is drained and read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from recorder.archive import locks, verify_tables
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BY_NAME, Branch
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import Segments
from recorder.journal import segment
from recorder.ops import doctor
from recorder.query.connect import connect
from tests.archive.candles import rows
from tests.example_dataset import register
from tests.ingest.drained_archive import at, drain
from tests.powercut import Unsynced

STORED = "SELECT pair, time, word FROM stored_toys() ORDER BY pair, time, word"


def toys(received_s: float, text: str) -> bytes:
    return segment.encode(at(received_s), "ws:toys:1", text.encode())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register(monkeypatch)
    drain(
        tmp_path, Unsynced(), journalled=[toys(-60, "A/B=ball C/D=kite A/B=doll"), toys(60, "A/B=kite"), toys(61, "?")]
    )
    return tmp_path


def test_its_rows_lie_in_their_partitions_and_one_line_that_is_malformed_costs_itself(data: Path) -> None:
    with connect(data) as opened:
        assert [tuple(row.values()) for row in opened.sql(STORED, to="arrow").to_pylist()] == [
            ("A/B", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "ball"),
            ("A/B", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "doll"),
            ("A/B", datetime(2026, 1, 1, 0, 1, tzinfo=UTC), "kite"),
            ("C/D", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "kite"),
        ]
    assert (data / "toys" / "pair=A%2FB" / "date=2026-01-01").is_dir()
    assert [row["kind"] for row in rows(data, "events")] == ["malformed"]


def test_a_frozen_snapshot_of_a_table_outlives_new_rows_and_a_compaction(data: Path) -> None:
    layout = Layout(data)
    with connect(data, frozen=True) as opened:
        before = opened.sql(STORED, to="arrow")
        drain(data, Unsynced(), journalled=[toys(62, "A/B=top C/D=top")])
        with locks.staging(layout, Unsynced()) as staging:
            segments = Segments(layout, Unsynced(), staging=staging)
            assert compact_segments(segments, Branch(BY_NAME["toys"], "A/B"), today=date(9999, 1, 1)) is not None
        assert opened.sql(STORED, to="arrow") == before
        opened.refresh()
        assert opened.sql(STORED, to="arrow").num_rows == before.num_rows + 2
    assert list(verify_tables.findings(layout)) == []
    assert [found for found in doctor.archive(layout, now_us=at(70) // 1000) if found.remedy] == []
