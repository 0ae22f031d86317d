from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive.instruments import InstrumentArchive
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.model import Instrument
from tests.archive.listings import BTC, ETH, listing
from tests.archive.rows import archive
from tests.builders import listed
from tests.powercut import PowerCut, PowerLoss, Unsynced
from tests.segments import named


def rows(data: Path) -> list[tuple[int, str, str]]:
    """Return (valid from, pair, status) of what stands in the table, as pyarrow alone reads it."""
    paths = (data / "instruments").glob("*.parquet")
    found = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted((int(row["valid_from"].timestamp()), row["pair"], row["status"]) for row in found)


def opening(opened: TradeArchive) -> InstrumentArchive:
    return InstrumentArchive(SegmentTables(opened.layout, opened.disk, staging=opened.staging))


def add(table: InstrumentArchive, valid_from_us: int, listing: Sequence[Instrument], *, segment: int) -> int:
    """Archive one listing at once; return how many rows it adds."""
    added = len(table.add(valid_from_us, listed(*listing)).rows)
    table._tables.write(named(segment))
    return added


def test_one_row_is_added_for_each_change_of_a_pair(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        table = opening(opened)
        assert add(table, 1_000_000, [BTC, ETH], segment=1) == 2
        assert add(table, 2_000_000, [BTC, ETH], segment=1) == 0
        assert add(table, 3_000_000, listing(3), segment=2) == 1
        assert table.remembered() == listing(3)
    assert rows(tmp_path) == [(1, "BTC/USD", "online"), (1, "ETH/USD", "online"), (3, "BTC/USD", "status 3")]


@given(changes=st.lists(st.integers(0, 2), min_size=1, max_size=5), drained=st.data())
@settings(max_examples=25)
def test_a_drain_repeated_after_a_crash_adds_nothing(
    tmp_path_factory: pytest.TempPathFactory, changes: list[int], drained: st.DataObject
) -> None:
    """Even where the listing changed to and fro in one segment, which was archived in part."""
    data = tmp_path_factory.mktemp("data")
    with archive(data, Unsynced()) as opened:
        for count in (drained.draw(st.integers(0, len(changes))), len(changes), len(changes)):
            table = opening(opened)
            for moment_s, number in enumerate(changes[:count]):
                add(table, moment_s * 1_000_000, listing(number), segment=1)
    expected = [
        (moment_s, "BTC/USD", f"status {number}")
        for moment_s, number in enumerate(changes)
        if moment_s == 0 or changes[moment_s - 1] != number
    ]
    assert [row for row in rows(data) if row[1] == "BTC/USD"] == expected


def append(data: Path, disk: Unsynced) -> None:
    with archive(data, disk) as opened:
        table = opening(opened)
        for moment_s in (1, 2):
            add(table, moment_s * 1_000_000, listing(moment_s), segment=1)


def test_a_power_cut_at_any_call_neither_loses_nor_doubles_a_row(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = PowerCut(tmp_path / "whole")
    append(tmp_path / "whole", whole)
    for cut_at in range(1, len(whole.calls) + 1):
        data = tmp_path / str(cut_at)
        data.mkdir()
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.raises(PowerLoss):
            append(data, disk)
        append(data, Unsynced())
        assert rows(data) == rows(tmp_path / "whole")


def take(data: Path, disk: Unsynced) -> None:
    """Drain a segment of three whole listings: listed, delisted, listed again."""
    with archive(data, disk) as opened:
        table = opening(opened)
        table._tables.begin()
        table.add(1_000_000, listed(BTC, ETH))
        table.delist(2_000_000, "BTC/USD")
        table.add(3_000_000, listed(BTC, ETH))
        table._tables.write(named(1))


def test_a_segment_of_listings_is_one_file_and_drained_again_adds_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        take(tmp_path, Unsynced())
        assert rows(tmp_path) == [
            (1, "BTC/USD", "online"),
            (1, "ETH/USD", "online"),
            (2, "BTC/USD", "delisted"),
            (3, "BTC/USD", "online"),
        ]
    assert len(list((tmp_path / "instruments").glob("0*.parquet"))) == 1


def test_what_is_not_listed_any_more_is_remembered_as_delisted(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        table = opening(opened)
        table.add(1_000_000, listed(BTC, ETH))
        assert table.keys() == {BTC.key: BTC.pair, ETH.key: ETH.pair}
        assert table.add(2_000_000, listed(ETH)).rows == (), "a listing that lacks it is not enough"
        for pair in ("BTC/USD", "BTC/USD", "NO/NE"):
            table.delist(3_000_000, pair)
        table._tables.write(named(1))
        assert table.keys() == {ETH.key: ETH.pair}
        assert table.remembered() == [msgspec.structs.replace(BTC, status="delisted"), ETH]


def test_what_was_taken_and_never_written_is_forgotten(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        table = opening(opened)
        table.add(1_000_000, listed(BTC))
        table._tables.begin()
        assert table.add(1_000_000, listed(BTC)).rows == (BTC,)


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    with archive(tmp_path / "status=wrong" / "data", Unsynced()) as opened:
        add(opening(opened), 1, [BTC], segment=1)
        assert opening(opened).remembered() == [BTC]
