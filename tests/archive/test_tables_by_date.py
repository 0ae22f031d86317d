"""A table that is split by date, such as books: few files a day, and only the folders that matter are looked into."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recorder.archive import locks, parquet, segment_tables
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BOOK, BOOK_EVENTS, BOOK_SESSIONS, BOOKS_JOURNAL, Branch, written_by
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout, listed
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.archive.table_retention import expire
from recorder.core.model import BookRow, Event
from recorder.core.segment_names import SegmentName
from recorder.kraken.book_lines import BookEnd, ended_part
from tests.powercut import Unsynced

PAIR = "BTC/USD"
DAY_US = 86_400_000_000
START_US = 1_762_732_800_000_000
"""2025-11-10."""


def row(us: int, message: int, position: int = 0) -> BookRow:
    return BookRow(PAIR, us, us, 7, message, position, "update", "bid", "100.5", "1.25", None)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[SegmentTables]:
    layout, disk = Layout(tmp_path / "data"), Unsynced()
    create(layout, disk, written_by(BOOKS_JOURNAL))
    with locks.staging(layout, disk) as staging:
        yield SegmentTables(layout, disk, staging=staging, journal=BOOKS_JOURNAL)


def written(tables: SegmentTables, number: int, rows: list[BookRow]) -> int:
    tables.begin()
    tables.add(Branch(BOOK, PAIR), rows)
    tables.add(Branch(BOOK_EVENTS), [Event(START_US, "book_lost", PAIR, "{}")])
    return tables.write(SegmentName("", BOOKS_JOURNAL, number))


def leaves(tables: SegmentTables) -> dict[str, int]:
    layout = tables.segments.layout
    return {leaf.name: len(list(leaf.glob("*.parquet"))) for leaf in layout.leaves(Branch(BOOK, PAIR))}


def test_many_rows_wait_in_files_and_are_all_written_in_order(
    tables: SegmentTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of however many pairs: what is in memory is limited for all of them together."""
    monkeypatch.setattr(segment_tables, "_IN_MEMORY", 2_048)
    rows = [row(START_US + DAY_US - 2_500 + number, number // 2, number % 2) for number in range(5_000)]
    staging = tables._staging
    tables.begin()
    others = [Branch(BOOK, f"A{number}/USD") for number in range(10)]
    for start in range(0, 5_000, 100):
        tables.add(Branch(BOOK, PAIR), rows[start : start + 100])
        tables.add(others[start // 100 % 10], rows[start : start + 20])
    assert len(list(staging.iterdir())) == 2, "a file each time, and not for each pair"
    assert tables.write(SegmentName("", BOOKS_JOURNAL, 1)) == 6_000
    assert list(staging.iterdir()) == []
    assert {sum(parquet.read_facts(path).rows for path in tables.segments.layout.files(one)) for one in others} == {100}
    assert leaves(tables) == {"date=2025-11-10": 1, "date=2025-11-11": 1}
    layout = tables.segments.layout
    found = [
        (one["message"], one["position"])
        for path in layout.files(Branch(BOOK, PAIR))
        for one in parquet.OpenFile(path).table(columns=["message", "position"]).to_pylist()
    ]
    assert found == [(number // 2, number % 2) for number in range(5_000)]
    tables.begin()
    tables.add(Branch(BOOK, PAIR), rows)
    tables.begin()
    assert list(staging.iterdir()) == [], "what is dropped leaves nothing"


def test_what_tells_of_rows_is_written_after_them(tables: SegmentTables, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write = parquet.write_new

    def noted(rows: pa.Table, footer: Footer, *rest: Any, **named: Any) -> parquet.FileFacts:
        order.append(footer.table)
        return write(rows, footer, *rest, **named)

    monkeypatch.setattr(parquet, "write_new", noted)
    tables.begin()
    tables.add(Branch(BOOK_SESSIONS), [ended_part(BookEnd(PAIR, 7, 1, START_US * 1000, "killed"), seen_us=START_US)])
    tables.add(Branch(BOOK, PAIR), [row(START_US, 0)])
    tables.add(Branch(BOOK_EVENTS), [Event(START_US, "book_lost", PAIR, "{}")])
    tables.write(SegmentName("", BOOKS_JOURNAL, 1))
    assert order == ["book_events", "book", "book_sessions"]


def test_only_dates_that_rows_belong_to_are_looked_into_and_a_repeated_drain_adds_nothing(
    tables: SegmentTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(4):
        assert written(tables, day + 1, [row(START_US + day * DAY_US, day)]) == 2
    read: list[str] = []
    facts = parquet.read_facts

    def noted(path: Path) -> parquet.FileFacts:
        read.append(path.parent.name)
        return facts(path)

    monkeypatch.setattr("recorder.archive.segment_tables.read_facts", noted)
    assert written(tables, 4, [row(START_US + 3 * DAY_US, 3)]) == 0
    assert {name for name in read if name.startswith("date")} == {"date=2025-11-13"}
    read.clear()
    assert written(tables, 5, [row(START_US + 3 * DAY_US + 1, 4)]) == 2
    assert expire(tables.segments, Branch(BOOK, PAIR), before_us=START_US + 1) == 1
    assert {name for name in read if name.startswith("date")} == {"date=2025-11-13", "date=2025-11-10"}
    assert leaves(tables)["date=2025-11-13"] == 2


def test_a_date_is_merged_to_one_file_once_it_is_over(tables: SegmentTables) -> None:
    for number in range(20):
        written(tables, number + 1, [row(START_US + number, number)])
    branch = Branch(BOOK, PAIR)
    assert compact_segments(tables.segments, branch, today=date(2025, 11, 10)) is None
    done = compact_segments(tables.segments, branch, today=date(2025, 11, 11))
    assert done is not None
    assert (done.files, done.rows) == (20, 20)
    assert leaves(tables) == {"date=2025-11-10": 1}
    assert compact_segments(tables.segments, branch, today=date(2025, 11, 11)) is None
    assert written(tables, 20, [row(START_US + 19, 19)]) == 0, "the merged file still names what may come again"


def test_the_files_of_a_date_are_merged_by_their_bytes_and_not_by_their_rows(
    tables: SegmentTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a book takes a fraction of the bytes of a trade: files of so many rows would be too small."""
    monkeypatch.setattr("recorder.archive.compaction.FULL_ROWS", 3)
    for number in range(6):
        written(tables, number + 1, [row(START_US + number * 10 + position, number, position) for position in range(2)])
    branch, today = Branch(BOOK, PAIR), date(2025, 11, 11)
    smallest = min(path.stat().st_size for path in tables.segments.layout.files(branch))
    monkeypatch.setattr("recorder.archive.compaction.FULL_BYTES", smallest)
    assert compact_segments(tables.segments, branch, today=today) is None
    monkeypatch.setattr("recorder.archive.compaction.FULL_BYTES", 10 * smallest)
    assert compact_segments(tables.segments, branch, today=today) is not None
    assert leaves(tables) == {"date=2025-11-10": 1}


def test_the_highest_segment_is_found_without_opening_the_files(
    tables: SegmentTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(6):
        tables.begin()
        tables.add(Branch(BOOK, PAIR), [row(START_US + day * DAY_US, 0)])
        tables.write(SegmentName("", BOOKS_JOURNAL, 41 + day))
    layout = tables.segments.layout
    for path in layout.files(Branch(BOOK, PAIR)):
        path.write_bytes(b"")
    looked_into: list[str] = []

    def noted(leaf: Path) -> list[str]:
        looked_into.append(leaf.name)
        return listed(leaf)

    monkeypatch.setattr(segment_tables, "listed", noted)
    assert highest(layout, BOOKS_JOURNAL) == 46
    assert looked_into == ["date=2025-11-13", "date=2025-11-14", "date=2025-11-15"], "there may be thousands"
