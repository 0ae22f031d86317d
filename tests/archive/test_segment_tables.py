from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.datasets import EVENTS, OHLC, Branch
from recorder.archive.event_rows import event
from recorder.archive.layout import Layout
from recorder.archive.schema import events_table
from recorder.archive.segment_tables import Segments, Waiting, highest
from recorder.core.event_kinds import EventKind
from recorder.core.model import Event
from recorder.errors import CorruptFile
from tests.archive.candles import files_in
from tests.archive.events import details, write_events
from tests.archive.rows import archive
from tests.powercut import PowerCut, PowerLoss, Unsynced, cuts, lay
from tests.segments import named


def test_a_segment_adds_its_rows_once_to_each_year(tmp_path: Path) -> None:
    assert write_events(tmp_path, 7, -2, 2) == 5
    assert write_events(tmp_path, 7, -2, 2) == 0
    assert write_events(tmp_path, 8, 3, 3) == 1
    assert files_in(tmp_path / "events") == {"year=2025": 1, "year=2026": 2}
    assert details(tmp_path) == [f'{{"connection":{n}}}' for n in range(-2, 4)]


def test_nothing_writes_nothing(tmp_path: Path) -> None:
    assert write_events(tmp_path, 7, 1, 0) == 0
    assert files_in(tmp_path / "events") == {}


def test_a_power_cut_at_any_call_neither_loses_nor_doubles_a_row(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    moments = cuts(PowerCut(whole), lambda disk: write_events(whole, 7, -1, 1, disk))
    expected = details(whole)
    for cut in moments:
        for tree in cut.trees:
            after = lay(tree, tmp_path / "after")
            write_events(after, 7, -1, 1)
            assert details(after) == expected, f"cut before {cut.before}"
            shutil.rmtree(after)
    assert sum(len(cut.trees) for cut in moments) > len(moments) / 3


def test_what_a_killed_process_wrote_is_durable_before_another_counts_it(tmp_path: Path) -> None:
    whole = PowerCut(tmp_path)
    write_events(tmp_path, 7, -1, 1, whole)
    expected = details(tmp_path)
    for killed_at in range(1, len(whole.calls) + 1):
        data = tmp_path / str(killed_at)
        data.mkdir()
        disk = PowerCut(data, cut_at=killed_at)
        with pytest.raises(PowerLoss):
            write_events(data, 7, -1, 1, disk)
        disk.revive()
        write_events(data, 7, -1, 1, disk)
        for tree in disk.aftermaths(("lost",)):
            assert details(lay(tree, tmp_path / "after")) == expected, f"killed at call {killed_at}"
            shutil.rmtree(tmp_path / "after")


def test_a_damaged_file_does_not_keep_rows_out(tmp_path: Path) -> None:
    write_events(tmp_path, 7, 1, 2)
    (path,) = (tmp_path / "events" / "year=2026").glob("0*.parquet")
    path.write_bytes(b"junk")
    assert write_events(tmp_path, 8, 3, 4) == 2
    with archive(tmp_path, Unsynced()) as opened:
        segments = Segments(opened.layout, Unsynced(), staging=opened.staging)
        assert segments.holds(EVENTS, named(8))
        assert not segments.holds(EVENTS, named(7))
        with pytest.raises(CorruptFile, match="is not a complete Parquet file"):
            segments.files(Branch(EVENTS))


def test_a_file_of_another_table_is_told(tmp_path: Path) -> None:
    write_events(tmp_path, 7, 1, 2)
    (path,) = (tmp_path / "events" / "year=2026").glob("0*.parquet")
    folder = tmp_path / "ohlc" / "timeframe=1m" / "year=2026"
    folder.mkdir(parents=True)
    path.rename(folder / path.name)
    with pytest.raises(CorruptFile, match="says it holds events, and lies among ohlc: was it moved there by hand"):
        Segments(Layout(tmp_path), Unsynced(), staging=tmp_path).files(Branch(OHLC, "1m"))


@given(sizes=st.lists(st.integers(0, 1500), max_size=5))
def test_what_waits_is_kept_in_the_order_it_came(sizes: list[int]) -> None:
    waiting = Waiting(EVENTS)
    expected: list[Event] = []
    for number, size in enumerate(sizes):
        more = [event(number, EventKind.CONNECTED)] * size
        waiting.add(more)
        expected += more
        assert waiting.table().num_rows == len(expected)
    assert waiting.table().equals(events_table(expected).combine_chunks())


def test_the_highest_segment_is_that_of_any_table_and_a_damaged_file_does_not_hide_it(tmp_path: Path) -> None:
    with archive(tmp_path):
        pass
    assert highest(Layout(tmp_path)) == 0
    write_events(tmp_path, 12, 1, 2)
    write_events(tmp_path, 7, 3, 4)
    (tmp_path / "ohlc" / "timeframe=1m" / "year=2026").mkdir(parents=True)
    (tmp_path / "ohlc" / "timeframe=1m" / "year=2026" / "damaged.parquet").write_bytes(b"PAR1")
    assert highest(Layout(tmp_path)) == 12
