"""Compaction of the tables without ids: the same rows, whatever files they came in."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive import compaction as module
from recorder.archive import parquet
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import EVENTS, INSTRUMENTS, OHLC, Branch
from recorder.archive.footer import Footer
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.parquet import FileFacts, read_facts
from recorder.archive.schema import ohlc_table
from recorder.archive.segment_tables import Segments, SegmentTables
from recorder.core.model import Candle
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.disk import Disk
from recorder.errors import CorruptFile
from tests.archive.candles import MINUTE_US, NEW_YEAR_US, candle, files_in, rows
from tests.archive.events import details, write_events
from tests.archive.listings import listing
from tests.archive.rows import archive
from tests.builders import listed
from tests.powercut import PowerCut, Unsynced, cuts, lay
from tests.segments import named, numbers_in

MINUTES = Branch(OHLC, "1m")


def write(data: Path, parts: Sequence[Sequence[tuple[int, Candle]]]) -> None:
    """Write (seen, candle) rows, those of each file drained from a segment of its own."""
    with archive(data, Unsynced()) as opened:
        segments = Segments(opened.layout, Unsynced(), staging=opened.staging)
        for number, inside in enumerate(parts, 1):
            segments.append(MINUTES, ohlc_table(inside), segment=named(number))


def merge(data: Path, branch: Branch = MINUTES, disk: Disk | None = None, *, drained_to: int = 0) -> int:
    """Merge all that is worth it, as of a year that is over; return how many merges."""
    disk = disk or Unsynced()
    with archive(data, disk) as opened:
        segments = Segments(opened.layout, disk, staging=opened.staging)
        merges = itertools.takewhile(
            bool,
            (
                compact_segments(segments, branch, today=date(9999, 1, 1), drained_to={MAIN_JOURNAL: drained_to})
                for _ in range(100)
            ),
        )
        return len(list(merges))


def footers(folder: Path) -> list[list[int]]:
    paths = [path for path in folder.rglob("*.parquet") if path.name != "schema.parquet"]
    return sorted(map(numbers_in, paths))


seen_candles = st.tuples(
    st.integers(0, 5), st.builds(candle, st.integers(-3, 3), pair=st.sampled_from("AB"), from_us=st.just(NEW_YEAR_US))
)


@given(parts=st.lists(st.lists(seen_candles, max_size=12), max_size=8), batch=st.integers(1, 5))
@settings(max_examples=40)
def test_however_rows_are_split_into_files_a_merge_keeps_each_and_sorts_them(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[int, Candle]]], batch: int
) -> None:
    data = tmp_path_factory.mktemp("data")
    write(data, parts)
    before = rows(data, "ohlc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", batch)
        merge(data)
    assert rows(data, "ohlc") == before  # which also checks the order in each file
    assert set(files_in(data / "ohlc").values()) <= {1}
    assert not list((data / ".staging" / "exchange").iterdir())
    written = {number for number, inside in enumerate(parts, 1) if inside}
    assert set(itertools.chain(*footers(data / "ohlc"))) == written


def test_events_are_merged_in_each_year(tmp_path: Path) -> None:
    for number in range(1, 5):
        write_events(tmp_path, number, -number, number)
    before = Counter(details(tmp_path))
    assert merge(tmp_path, Branch(EVENTS)) == 2
    assert files_in(tmp_path / "events") == {"year=2025": 1, "year=2026": 1}
    assert Counter(details(tmp_path)) == before
    assert (tmp_path / "events" / "year=1970" / "schema.parquet").exists()
    assert write_events(tmp_path, 3, -3, 3) == 0, "a merged file still tells what it came from"


def test_instruments_are_merged_beside_the_file_that_the_table_is_born_with(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for number in range(1, module.MANY + 2):
            tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
            table = InstrumentArchive(tables)
            table.add(number * 1_000_000, listed(*listing(number)))
            tables.write(named(number))
        before = rows(tmp_path, "instruments")
        assert merge(tmp_path, Branch(INSTRUMENTS)) == 1
        assert rows(tmp_path, "instruments") == before
        assert files_in(tmp_path / "instruments") == {"instruments": 1}
        assert (tmp_path / "instruments" / "schema.parquet").exists()
        assert table.add(20_000_000, listed(*listing(number))).rows == ()


@pytest.mark.parametrize(("drained_to", "kept"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3]), (3, [3]), (99, [3])])
def test_numbers_of_segments_that_cannot_come_again_are_dropped_but_for_the_highest(
    tmp_path: Path, drained_to: int, kept: list[int]
) -> None:
    write(tmp_path, [[(1, candle(n))] for n in range(3)])
    assert merge(tmp_path, drained_to=drained_to) == 1
    assert footers(tmp_path / "ohlc") == [kept]


def test_files_stay_in_the_order_of_their_segments_and_large_ones_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIERS", (5,))
    write(tmp_path, [[(number, candle(n)) for n in range(count)] for number, count in enumerate((1, 2, 9, 3, 3))])
    with archive(tmp_path, Unsynced()) as opened:
        segments = Segments(opened.layout, Unsynced(), staging=opened.staging)
        large = next(facts.path for facts in segments.files(MINUTES) if facts.rows == 9)
        inode = large.stat().st_ino
        assert compact_segments(segments, MINUTES, today=date(2025, 1, 1))
        assert compact_segments(segments, MINUTES, today=date(2025, 1, 1)) is None
    assert large.stat().st_ino == inode
    assert footers(tmp_path / "ohlc") == [[1], [2], [3], [4, 5]]


def test_files_that_cannot_be_read_are_left_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, [[(number, candle(n)) for n in range(300)] for number in range(2)])
    paths = sorted((tmp_path / "ohlc").rglob("0*.parquet"))
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 6] ^= 1
    paths[0].write_bytes(content)
    before = {path: path.read_bytes() for path in paths}
    for _ in range(2):  # the second attempt also finds what the first one left
        with pytest.raises(CorruptFile, match="nothing was changed"):
            merge(tmp_path)
    assert {path: path.read_bytes() for path in sorted((tmp_path / "ohlc").rglob("0*.parquet"))} == before


def test_a_merge_that_writes_other_rows_than_it_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [[(number, candle(number))] for number in range(3)])
    before = rows(tmp_path, "ohlc")
    in_order = module.file_rows
    spoilt = iter([True, False])

    def spoiling(*arguments: object) -> object:
        tables = list(in_order(*arguments))  # type: ignore[arg-type]
        return iter([pa.concat_tables([tables[0], *tables[:-1]])]) if next(spoilt) else iter(tables)

    monkeypatch.setattr(module, "file_rows", spoiling)
    with pytest.raises(CorruptFile, match="or into other ones; nothing was changed"):
        merge(tmp_path)
    monkeypatch.undo()
    assert rows(tmp_path, "ohlc") == before


@pytest.mark.parametrize("can_swap", [True, False])
@pytest.mark.parametrize("table", ["events", "instruments"])
def test_a_power_cut_at_any_call_leaves_every_row_once(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch, *, can_swap: bool
) -> None:
    monkeypatch.setattr(module, "MANY", 3)
    before = tmp_path / "before"
    before.mkdir()
    if table == "events":
        for number in (1, 2):
            write_events(before, number, number, number + 1)
    else:
        with archive(before, Unsynced()) as opened:
            for number in range(module.MANY):
                tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
                InstrumentArchive(tables).add(number * 1_000_000, listed(*listing(number)))
                tables.write(named(number + 1))
    branch = Branch(EVENTS if table == "events" else INSTRUMENTS)
    expected = rows(before, table)
    whole = shutil.copytree(before, tmp_path / "whole")
    disk = PowerCut(whole, can_swap=can_swap)
    moments = cuts(disk, lambda disk: merge(whole, branch, disk), contents=("lost",))
    assert sum(files_in(whole / table).values()) == 1
    for cut in moments:
        for tree in cut.trees:
            after = lay(tree, tmp_path / "after")
            with archive(after, Unsynced()):  # a fresh start, which mends
                assert rows(after, table) == expected, f"cut before {cut.before}"
            merge(after, branch)
            assert rows(after, table) == expected
            assert sum(files_in(after / table).values()) == 1
            shutil.rmtree(after)
    assert sum(len(cut.trees) for cut in moments) > 5


def test_a_merge_streams_however_many_rows_there_are(tmp_path: Path) -> None:
    """Twenty files, each of all pairs: a pool that is asked how much it ever held."""
    count, pairs, each = 20, 40, 1500
    merged = [_large(tmp_path, number, pairs, each) for number in range(count)]
    pool, default = pa.system_memory_pool(), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        before = pool.bytes_allocated()
        taken, peak = 0, 0
        for table in module.file_rows(OHLC, merged):
            peak = max(peak, pool.bytes_allocated() - before)
            taken += table.num_rows
    finally:
        pa.set_memory_pool(default)
    assert taken == count * pairs * each
    assert taken * 110 > 130_000_000, "what it would be at once"
    assert peak < 80_000_000


def _large(folder: Path, number: int, pairs: int, each: int) -> FileFacts:
    template = ohlc_table([(number, candle(0))])
    size = pairs * each
    names = [f"P{index:04d}/USD" for index in range(pairs) for _ in range(each)]
    times = [NEW_YEAR_US + (number * each + index) * MINUTE_US for _ in range(pairs) for index in range(each)]
    fixed = {
        "pair": pa.array(names, pa.string()),
        "time": pa.array(times, pa.int64()).cast(OHLC.columns.field("time").type),
    }
    columns = [fixed.get(name, pa.repeat(template[name][0], size)) for name in template.schema.names]
    table = pa.table(columns, schema=OHLC.columns)
    assert pc.min(table["time"]) is not None
    path = folder / f"{number}.parquet"
    parquet.write(table, Footer("ohlc", segments=(named(number),)), path, Unsynced(), staged_in=folder.parent)
    return read_facts(path)
