from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from recorder.archive.datasets import DATASETS, Dataset
from recorder.core.model import Event
from recorder.errors import CorruptFile, StorageError
from recorder.ops import archive_status
from recorder.query import table_rows, table_snapshot
from recorder.query.connect import connect
from recorder.query.table_snapshot import Extent, TableSnapshot, TableSnapshots
from tests.archives import START, START_US, Written, candle


def later(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def event(number: int) -> Event:
    return Event(START_US + number, "connected", None, "{}")


def names(moment: TableSnapshot, table: str) -> list[str]:
    return [Path(path).name for path in moment.tables[table].files]


def test_it_lists_the_files_of_each_table_before_the_one_it_was_born_with(archive: Written) -> None:
    archive.published([candle(0), candle(0, timeframe="1h"), candle(60 * 24 * 60)])
    archive.noted(event(1))
    archive.listed("BTC/USD", 1)
    moment = TableSnapshots(archive.layout).now()
    for table, count in (("ohlc", 3), ("events", 1), ("instruments", 1)):
        files = moment.tables[table]
        found = {str(path) for path in (archive.data / table).rglob("*.parquet")}
        assert set(files.files) == found
        assert len(files.files) == count + 1
        assert files.files[-1].endswith("schema.parquet")
        assert files.cut_files == files.files[-1:]


def test_a_footer_is_read_only_to_keep_a_moment_and_only_once(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    original: Callable[[Path, Dataset], table_snapshot._FooterFacts] = table_snapshot._read_footer

    def counted(path: Path, table: Dataset) -> table_snapshot._FooterFacts:
        read.append(path)
        return original(path, table)

    monkeypatch.setattr(table_snapshot, "_read_footer", counted)
    listing = TableSnapshots(archive.layout)
    for number in range(3):
        archive.noted(event(number))
        listing.now()
    assert read == []
    for _ in range(3):
        kept = listing.pin(listing.now())
        listing.find_again(kept)
    assert len(read) == len(set(read)) == 3
    assert kept.folders == {str(archive.data / "events" / "year=2025"): Extent(3, START_US + 2)}


def test_a_kept_moment_is_found_again_in_merged_files_up_to_the_stamp_of_each_folder(archive: Written) -> None:
    listing = TableSnapshots(archive.layout)
    archive.published([candle(0), candle(0, timeframe="1h")], seen=later(1))
    archive.published([candle(1)], seen=later(9))
    kept = listing.pin(listing.now())
    # What comes later of 1h was seen before the newest of 1m, and is no part of the moment all the same.
    archive.published([candle(60, timeframe="1h"), candle(0, timeframe="1d")], seen=later(5))
    archive.published([candle(2)], seen=later(10))
    assert listing.find_again(kept) == kept
    archive.merge("ohlc")
    again = listing.find_again(kept)
    cut = {Path(path).parts[-3] for path in again.tables["ohlc"].cut_files[:-1]}
    assert cut == {"timeframe=1h", "timeframe=1m"}
    assert len(again.tables["ohlc"].files) == 1
    assert again.folders == kept.folders


def test_files_merged_of_nothing_but_the_moments_rows_are_whole(archive: Written) -> None:
    listing = TableSnapshots(archive.layout)
    archive.noted(event(1))
    archive.noted(event(2))
    kept = listing.pin(listing.now())
    archive.merge("events")
    archive.noted(event(3))
    again = listing.find_again(kept)
    assert len(again.tables["events"].files) == 2
    assert len(again.tables["events"].cut_files) == 1


def test_rows_of_a_kept_moment_that_are_gone_refuse_their_folder(archive: Written) -> None:
    listing = TableSnapshots(archive.layout)
    archive.noted(event(1), event(2))
    archive.noted(event(3))
    kept = listing.pin(listing.now())
    (archive.data / "events" / "year=2025" / names(kept, "events")[0]).unlink()
    found = listing.find_again(kept)
    ((path, fault),) = ((path, fault) for path, fault in found.refused.items() if "/events/" in path)
    assert path in found.tables["events"].files
    assert re.search(r"[12] rows of .*year=2025 were in the archive and are gone", str(fault))


def test_a_folder_exchanged_while_it_is_listed_is_not_believed(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.noted(event(1))
    archive.noted(event(2))
    listing, original = TableSnapshots(archive.layout), os.listdir

    def late(place: str | int) -> list[str]:
        if isinstance(place, int) and os.path.samestat(os.fstat(place), (archive.data / "events" / "year=2025").stat()):
            monkeypatch.undo()
            archive.merge("events")
        return original(place)

    monkeypatch.setattr(os, "listdir", late)
    with pytest.raises(FileNotFoundError, match="exchanged while it was listed"):
        listing.now()
    assert len(names(listing.now(), "events")) == 2


def test_a_table_that_is_not_there_is_an_error_with_the_remedy(archive: Written) -> None:
    (archive.data / "instruments" / "schema.parquet").unlink()
    with pytest.raises(StorageError, match=r"table instruments is not there .*`recorder run --data"):
        TableSnapshots(archive.layout).now()


def test_tables_that_an_earlier_release_did_not_have_are_empty_and_an_archive_without_them_is_readable(
    archive: Written,
) -> None:
    archive.noted(event(1))
    later = [table for table in DATASETS if table.added_later]
    names = {"quotes", "quote_sessions", "market_events", "bulk_trades", "bulk_ohlc"}
    assert {table.name for table in later} == names
    for table in later:
        shutil.rmtree(archive.layout.folder(table))
    with connect(archive.data, frozen=True) as opened:
        for view in ("quotes", "quote_sessions"):
            assert opened.sql(f"FROM {view}", to="arrow").num_rows == 0
        assert opened.sql("FROM events", to="arrow").num_rows == 1
        for table in later:
            found = opened.sql(f"FROM stored_{table.name}()", to="arrow")
            assert (found.num_rows, set(found.column_names)) == (0, set(table_rows.columns(table)))
        opened.refresh()
        assert opened.sql("FROM events", to="arrow").num_rows == 1
    assert archive_status.everything(archive.data).damaged == []
    (archive.layout.folder(later[1]) / "year=2025").mkdir(parents=True)
    with pytest.raises(StorageError, match=f"table {later[1].name} is not there"):
        TableSnapshots(archive.layout).now()


def test_a_file_that_is_not_ours_is_an_error_that_names_it(archive: Written) -> None:
    archive.noted(event(1))
    (archive.data / "events" / "year=2025" / "mine.parquet").write_bytes(b"PAR1")
    listing = TableSnapshots(archive.layout)
    with pytest.raises(CorruptFile, match=r"mine\.parquet is not a complete Parquet file .* from a back-up"):
        listing.pin(listing.now())
