from __future__ import annotations

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
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay
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
    (tmp_path / "whole").mkdir()
    whole = PowerCut(tmp_path / "whole")
    write_events(tmp_path / "whole", 7, -1, 1, whole)
    states = 0
    for cut_at in range(1, len(whole.calls) + 1):
        data = tmp_path / str(cut_at)
        data.mkdir()
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.raises(PowerLoss):
            write_events(data, 7, -1, 1, disk)
        for tree in disk.aftermaths():
            states += 1
            after = lay(tree, tmp_path / f"after {states}")
            write_events(after, 7, -1, 1)
            assert details(after) == details(tmp_path / "whole")
        # Or only the process died. What it wrote must be durable before another counts it.
        disk.revive()
        write_events(data, 7, -1, 1, disk)
        for tree in disk.aftermaths(("lost",)):
            states += 1
            assert details(lay(tree, tmp_path / f"after {states}")) == details(tmp_path / "whole")
    assert states > 2 * len(whole.calls)


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
