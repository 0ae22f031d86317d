"""Segments of different journals and archives have the same numbers, and hide nothing of each other."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recorder.archive import archive_id, locks, verify_tables
from recorder.archive.datasets import EVENTS, OHLC, SCHEMA_FILE, WITHOUT_IDS, Branch
from recorder.archive.footer import FOOTER_KEY
from recorder.archive.layout import Layout, new_name
from recorder.archive.parquet import read_facts
from recorder.archive.segment_tables import Segments, highest
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.journal import segment
from recorder.query.connect import connect
from tests.archive.candles import NEW_YEAR_US, candle, rows
from tests.archive.events import events
from tests.example_dataset import register
from tests.ingest.drained_archive import SEGMENT, at, drain, journal_lines, merge, note, prepared
from tests.powercut import PowerCut, PowerLoss, Tree, Unsynced, lay
from tests.segments import named, numbers_in

MARKET = "journal_market"


def connections(data: Path) -> list[int]:
    """Return which connections the archived events tell of."""
    return sorted(
        json.loads(row["detail"])["connection"] for table in ("events", "market_events") for row in rows(data, table)
    )


def rows_of_toys(data: Path) -> list[str]:
    return sorted(row["word"] for path in files_of(data, "toys") for row in pq.ParquetFile(path).read().to_pylist())


def counted(data: Path, table: str) -> Counter[str]:
    """Return how often each row of a table is archived."""
    return Counter(map(str, rows(data, table)))


def files_of(data: Path, table: str) -> list[Path]:
    return [path for path in sorted((data / table).rglob("*.parquet")) if path.name != SCHEMA_FILE]


def test_a_cut_at_any_call_of_the_drain_of_a_second_journal_leaves_every_row_of_both_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a table of its own, toys, which is all that the second journal takes beside its name."""
    register(monkeypatch, journal=MARKET)
    before = tmp_path / "before"
    before.mkdir()
    drain(before, Unsynced(), journalled=[note(1, "connected", connection=1)])
    toys = segment.encode(at(2), "ws:toys:1", b"A/B=ball C/D=kite")
    journal_lines(before, [note(2, "connected", connection=2), toys], MARKET)
    assert [path.name for path in segment.segments(before / MARKET)] == ["000000000001.jsonl"]
    counting = PowerCut(shutil.copytree(before, tmp_path / "whole"))
    drain(tmp_path / "whole", counting, journal_name=MARKET)
    assert connections(tmp_path / "whole") == [1, 2]
    assert rows_of_toys(tmp_path / "whole") == ["ball", "kite"]
    checked: list[Tree] = []
    for cut_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.MonkeyPatch.context() as patch:
            numbers = itertools.count(1)
            patch.setattr(uuid, "uuid4", lambda numbers=numbers: uuid.UUID(int=next(numbers) << 64))
            with pytest.raises(PowerLoss):
                drain(data, disk, journal_name=MARKET)
        for tree in disk.aftermaths(("lost",)):
            if tree not in checked:
                checked.append(tree)
                after = lay(tree, tmp_path / "after")
                drain(after, Unsynced(), journal_name=MARKET)
                drain(after, Unsynced(), journalled=[note(3, "connected", connection=3)])
                assert connections(after) == [1, 2, 3], f"cut at call {cut_at}, before {disk.calls[-1]}"
                assert rows_of_toys(after) == ["ball", "kite"], f"cut at call {cut_at}, before {disk.calls[-1]}"
                shutil.rmtree(after)
        shutil.rmtree(data)
    assert len(checked) > 5


def test_each_journal_has_events_of_its_own_and_a_merged_file_forgets_the_segments_that_left_it(
    tmp_path: Path,
) -> None:
    for journal, number in itertools.product((MAIN_JOURNAL, MARKET), (1, 2)):
        line = note(number, "connected", connection=number)
        drain(tmp_path, Unsynced(), journalled=[line], journal_name=journal)
    with locks.staging(Layout(tmp_path), Unsynced()) as staging:
        merge(Segments(Layout(tmp_path), Unsynced(), staging=staging), 1)
    (path,) = files_of(tmp_path, "events")
    archive = archive_id.read(tmp_path)
    assert read_facts(path).footer.segments == (named(3, archive=archive),)
    assert {
        name.number for path in files_of(tmp_path, "market_events") for name in read_facts(path).footer.segments
    } == {
        1,
        3,
    }
    assert highest(Layout(tmp_path)) == highest(Layout(tmp_path), MARKET) == 3
    assert connections(tmp_path) == [1, 1, 2, 2]


def test_files_of_other_journals_and_archives_hide_no_row_of_a_segment_with_the_same_number(tmp_path: Path) -> None:
    before = prepared(tmp_path, SEGMENT)
    earlier = {table: counted(before, table) for table in ("events", "ohlc")}
    alone = shutil.copytree(before, tmp_path / "alone")
    drain(alone, Unsynced())
    number = segment.number_of(segment.segments(before / "journal")[-1])
    others = [
        named(number, archive=str(uuid.uuid4())),
        named(number, journal=MARKET, archive=archive_id.read(before)),
        named(number, archive=""),
    ]
    with locks.staging(Layout(before), Unsynced()) as staging:
        segments = Segments(Layout(before), Unsynced(), staging=staging)
        for place, other in enumerate(others):
            segments.append(Branch(EVENTS), EVENTS.build(events(-place - 1, place + 1)), segment=other)
            strange = candle(place, pair="ETH/USD", from_us=NEW_YEAR_US)
            segments.append(Branch(OHLC, "1m"), OHLC.build([(1, strange)]), segment=other)
    added = {table: counted(before, table) - earlier[table] for table in earlier}
    assert [counts.total() for counts in added.values()] == [15, 3]
    drain(before, Unsynced())
    for table in earlier:
        assert counted(before, table) == counted(alone, table) + added[table]


def test_a_file_of_an_archive_that_was_copied_from_this_one_hides_nothing(tmp_path: Path) -> None:
    ours, copy = tmp_path / "ours", tmp_path / "copy"
    ours.mkdir()
    drain(ours, Unsynced(), journalled=[note(1, "connected", connection=1)])
    journal_lines(ours, [note(2, "connected", connection=2)])
    shutil.copytree(ours, copy)
    with locks.staging(Layout(copy), Unsynced()) as staging:
        archive_id.claim(Layout(copy), Unsynced(), staging)  # as `recorder run` does
    journal_lines(copy, [note(3, "connected", connection=3)])
    journal_lines(ours, [note(4, "connected", connection=4)])
    begun = segment.segments(copy / "journal")[-1]
    assert segment.segments(ours / "journal")[-1].name == begun.name
    drain(copy, Unsynced())
    for path in files_of(copy, "events")[1:]:  # what was journalled before the copy, and after it
        shutil.copy(path, ours / "events" / "year=2026")
    drain(ours, Unsynced())
    assert connections(ours) == [1, 2, 3, 4], "the segment that was copied keeps its name"
    assert list(verify_tables.findings(Layout(ours))) == []


def as_in_0_1_0(data: Path) -> None:
    """Take from an archive what the release 0.1.0 did not write: ids, and more of a segment than its number."""
    (data / archive_id.FILE).unlink()
    for path in data.rglob("*.parquet"):
        table, metadata = pq.ParquetFile(path).read(), pq.read_metadata(path).metadata
        content = {key: value for key, value in json.loads(metadata[FOOTER_KEY]).items() if key != "archive"}
        if content["table"] != "trades":
            content |= {"schema": 1} | ({"segments": numbers_in(path)} if "segments" in content else {})
        path.unlink()
        with pq.ParquetWriter(path, table.schema, store_schema=False, compression="zstd") as parquet:
            parquet.write_table(table)
            parquet.add_key_value_metadata({FOOTER_KEY: json.dumps(content)})
        if path.name != SCHEMA_FILE:
            first, last, *_ = path.name.split("-")
            path.rename(path.with_name(new_name(int(first), int(last), hashlib.sha256(path.read_bytes()).hexdigest())))
    for path in segment.segments(data / "journal"):
        first_line, rest = path.read_bytes().split(b"\n", 1)
        entry = segment.decode(first_line)
        head = {key: value for key, value in json.loads(entry.payload).items() if key not in {"archive", "journal"}}
        path.write_bytes(
            segment.encode(entry.recv_ns, entry.source, json.dumps(head, separators=(",", ":")).encode()) + rest
        )


def names(data: Path, tables: Iterable[str]) -> set[str]:
    """Return the archives whose segments the footers of tables name."""
    footers = (read_facts(path).footer for table in tables for path in files_of(data, table))
    return {name.archive for footer in footers for name in footer.segments}


def test_an_archive_of_the_last_release_is_recorded_on_and_what_was_half_drained_is_not_added_again(
    tmp_path: Path,
) -> None:
    tables = [dataset.name for dataset in WITHOUT_IDS]
    data = prepared(tmp_path, SEGMENT)
    (waiting,) = segment.segments(data / "journal")[-1:]
    kept = waiting.read_bytes()
    drain(data, Unsynced())
    expected = {table: counted(data, table) for table in tables}
    waiting.write_bytes(kept)  # its drain was killed before it was retired
    as_in_0_1_0(data)
    assert names(data, tables) == {""}
    assert highest(Layout(data)) == segment.number_of(waiting)

    drain(data, Unsynced())
    assert {table: counted(data, table) for table in tables} == expected
    assert names(data, tables) == {""}, "nothing is added, nor rewritten"
    drain(data, Unsynced(), journalled=[note(100, "connected", connection=5)])
    assert (counted(data, "events") - expected["events"]).total() == 1
    with locks.staging(Layout(data), Unsynced()) as staging:
        merge(Segments(Layout(data), Unsynced(), staging=staging), 0)
    assert names(data, ["events"]) == {"", archive_id.read(data)}
    assert list(verify_tables.findings(Layout(data))) == []
    with connect(data) as opened:
        assert opened.sql("FROM unsound_files").empty
        shutil.copy(files_of(data, "ohlc")[-1], files_of(data, "ohlc")[-1].with_name("copy.parquet"))
        assert "holds segment journal/" in opened.sql("FROM unsound_files")["problem"][0]
