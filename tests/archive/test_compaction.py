from __future__ import annotations

import itertools
import random
import tracemalloc
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive import compaction as module
from recorder.archive import read_trades
from recorder.archive.compaction import FULL_ROWS, QUIET_S, TIERS, compact, plan
from recorder.archive.datasets import TRADES
from recorder.archive.footer import Footer, held_runs
from recorder.archive.parquet import FileFacts, read_facts, write, write_new
from recorder.archive.schema import trades_table
from recorder.archive.trades import TradeArchive
from recorder.core.trade_ids import Spans
from recorder.errors import CorruptFile, DiskError
from tests.archive.rows import PAIR, archive, held, ids, over_new_year, trade, trades
from tests.powercut import Unsynced

MOST_REWRITES = 6
MOST_LIVE = 60
"""Files short of full in a year that is written at its end, at any moment."""


def drained(sizes: list[int]) -> tuple[list[int], float, int]:
    """Simulate a year: after each drain all merges that the plan wants. Return files, rewrites a row, most files."""
    rows: list[int] = []
    rewritten = most = 0
    for size in sizes:
        rows.append(size)
        while (chosen := plan(rows)) is not None:
            taken = rows[chosen]
            assert len(taken) > 1
            assert max(taken) < FULL_ROWS, "a full file is never rewritten"
            assert sum(taken) < 2 * FULL_ROWS
            rewritten += sum(taken)
            rows[chosen] = [sum(taken)]
        most = max(most, sum(count < FULL_ROWS for count in rows))
    return rows, rewritten / sum(sizes), most


dice = random.Random(7)
YEARS = {
    "one trade a drain": [1] * 6_000,
    "a few trades a drain": [dice.randint(1, 10) for _ in range(6_000)],
    "some hundred, unevenly": [int(dice.expovariate(1 / 300)) + 1 for _ in range(6_000)],
    "a busy pair": [3_000] * 3_000,
    "batches of history": [50_000] * 200,
    "sizes of all kinds": [int(10 ** dice.uniform(0, 5.5)) for _ in range(2_000)],
}


@pytest.mark.parametrize("name", YEARS)
def test_a_row_is_rewritten_some_six_times_at_most_and_few_files_live_at_once(name: str) -> None:
    rows, rewrites, most = drained(YEARS[name])
    assert sum(rows) == sum(YEARS[name])
    assert rewrites <= MOST_REWRITES
    assert most <= MOST_LIVE
    full = sum(count >= FULL_ROWS for count in rows)
    while (chosen := plan(rows, settled=True)) is not None:
        rows[chosen] = [sum(rows[chosen])]
    assert len(rows) <= 2 * full + 1, "a year that is over ends in full files, and one between each two of them"


@given(rows=st.lists(st.integers(1, 5_000_000), max_size=40), settled=st.booleans())
def test_a_plan_takes_neighbours_that_are_not_full_and_fit_one_file(rows: list[int], *, settled: bool) -> None:
    while (chosen := plan(rows, settled=settled)) is not None:
        taken = rows[chosen]
        assert len(taken) > 1
        assert all(count < FULL_ROWS for count in taken)
        assert sum(taken) < 2 * FULL_ROWS
        rows = [*rows[: chosen.start], sum(taken), *rows[chosen.stop :]]
    if settled:
        assert not any(
            one < FULL_ROWS and other < FULL_ROWS and one + other < 2 * FULL_ROWS
            for one, other in itertools.pairwise(rows)
        )


def test_tiers_rise_and_end_at_half_of_what_a_file_may_hold() -> None:
    assert list(TIERS) == sorted(TIERS)
    assert 2 * FULL_ROWS == 5_000_000


@given(owner=st.lists(st.integers(0, 4), min_size=1, max_size=80), batch=st.integers(1, 7), gap=st.integers(1, 3))
@settings(max_examples=60)
def test_files_interleaved_in_any_way_are_merged_in_ascending_id(
    tmp_path_factory: pytest.TempPathFactory, owner: list[int], batch: int, gap: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    merged = []
    for one in sorted(set(owner)):
        rows = [trade(index * gap + 1) for index, whose in enumerate(owner) if whose == one]
        table = trades_table(rows)
        path = folder / f"{one}.parquet"
        write(table, Footer("trades", PAIR, held_runs(table, PAIR)), path, Unsynced(), staged_in=folder.parent)
        merged.append(read_facts(path))
    merged.sort(key=module.first_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", batch)
        found = pa.concat_tables(module.file_rows(TRADES, merged, first=module.first_id))
    assert found["trade_id"].to_pylist() == [index * gap + 1 for index in range(len(owner))]


def test_a_merge_keeps_every_row_and_the_newest_footer_tells_it(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in (1, 21, 11, 41):
            opened.append(PAIR, trades(first, first + 9))
        before = sorted(read_trades.trades(opened.layout, PAIR), key=lambda row: row.trade_id)
        done = compact(opened, PAIR, today=date(9999, 1, 1))
        assert done is not None
        assert (done.files, done.rows) == (4, 40)
        assert list(read_trades.trades(opened.layout, PAIR)) == before
        (facts,) = opened.coverage.files(PAIR)
        assert [(run.span.first, run.span.last) for run in facts.footer.runs] == [(1, 30), (41, 50)]
        assert compact(opened, PAIR, today=date(9999, 1, 1)) is None
    assert held(tmp_path)[PAIR].files == 1
    assert not list((tmp_path / ".staging" / "exchange").iterdir())


def test_years_are_merged_each_for_itself(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in (1, 101):
            opened.append(PAIR, over_new_year(range(first, first + 10)))
        assert compact(opened, PAIR, today=date(2026, 1, 1))
        assert held(tmp_path)[PAIR].files == 3, "this year's two files are too few rows to be worth it"
        assert compact(opened, PAIR, today=date(2026, 1, 1)) is None
        assert compact(opened, PAIR, today=date(2027, 1, 1))
    assert held(tmp_path)[PAIR].files == 2


def test_a_past_year_is_merged_for_good_only_once_nothing_comes_to_it(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 5))
        opened.append(PAIR, trades(6, 9))
        written_s = max(path.stat().st_mtime for path in opened.layout.trade_files(PAIR))
        assert compact(opened, PAIR, today=date(2027, 1, 1), now_s=written_s + QUIET_S / 2) is None
        assert compact(opened, PAIR, today=date(2027, 1, 1), now_s=written_s + QUIET_S + 1)


def test_files_left_alone_keep_their_names_and_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIERS", (20,))
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 50))
        (large,) = opened.layout.trade_files(PAIR)
        inode = large.stat().st_ino
        opened.append(PAIR, trades(51, 60))
        opened.append(PAIR, trades(61, 70))
        assert compact(opened, PAIR, today=date(2025, 1, 1))
        assert large.stat().st_ino == inode
    assert held(tmp_path)[PAIR].files == 2


def damaged_page(archive: TradeArchive) -> None:
    path = archive.layout.trade_files(PAIR)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


def claims_more(archive: TradeArchive) -> None:
    path = archive.layout.trade_files(PAIR)[0]
    rows = trades_table([trade(1), trade(2), trade(2)])
    footer = Footer("trades", PAIR, held_runs(trades_table(trades(1, 3)), PAIR))
    path.unlink()
    write(rows, footer, path, Unsynced(), staged_in=archive.staging)
    archive.coverage = type(archive.coverage)(archive.layout)


@pytest.mark.parametrize("damage", [damaged_page, claims_more])
def test_files_that_do_not_hold_what_they_should_are_not_merged(tmp_path: Path, damage: object) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in (1, 4):
            opened.append(PAIR, trades(first, first + 2))
        assert callable(damage)
        damage(opened)
        before = {path: path.read_bytes() for path in opened.layout.trade_files(PAIR)}
        for _ in range(2):  # the second attempt also finds what the first one left
            with pytest.raises(CorruptFile, match=r"nothing was changed"):
                compact(opened, PAIR, today=date(9999, 1, 1))
        assert {path: path.read_bytes() for path in opened.layout.trade_files(PAIR)} == before


def test_a_full_disk_ends_a_merge_with_the_disks_own_sentence(tmp_path: Path) -> None:
    class Full(Unsynced):
        def write(self, file: object, content: bytes | memoryview) -> None:
            raise DiskError("cannot write: No space left on device")

    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 2))
        opened.append(PAIR, trades(3, 4))
        opened.disk = Full()
        with pytest.raises(DiskError, match="No space left"):
            compact(opened, PAIR, today=date(9999, 1, 1))
    assert ids(tmp_path) == [1, 2, 3, 4]


def test_a_merge_streams_however_many_rows_there_are(tmp_path: Path) -> None:
    """A pool that is asked how much it ever held: a few row groups, not the files."""
    rows = 1_500_000
    with archive(tmp_path, Unsynced()) as opened:
        year = opened.layout.year_dir(PAIR, 2025)
        year.mkdir(parents=True)
        merged = [_large(year, first, rows // 2) for first in (1, 2)]
        assert [facts.rows for facts in merged] == [rows // 2] * 2
        pool = pa.system_memory_pool()
        default = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        tracemalloc.start()
        try:
            before = pool.bytes_allocated()
            peak = max(_watched(pool, merged)) - before
            peak_python = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(default)
    assert rows * 80 > 100_000_000, "what it would be at once"
    assert peak < 30_000_000
    assert peak_python < 10_000_000


def _large(year: Path, first: int, rows: int) -> FileFacts:
    """Write a file of every second id from ``first`` on."""
    table = pa.table(
        [
            pa.array(range(first, first + 2 * rows, 2), pa.int64()),
            *(pa.nulls(rows, field.type).fill_null(_filler(field.type)) for field in list(TRADES.columns)[1:-1]),
            pa.nulls(rows, TRADES.columns.field("received").type),
        ],
        schema=TRADES.columns,
    )
    staged_in = year.parents[2]
    written = write_new(table, Footer("trades", PAIR, ()), year, Unsynced(), named=(first, first), staged_in=staged_in)
    return replace(written, footer=Footer("trades", PAIR, held_runs(table.slice(0, 1), PAIR)))


def _filler(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_string(kind):
        return pa.scalar("limit", kind)
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(1), kind)
    return pa.scalar(1, pa.int64()).cast(kind)


def _watched(pool: pa.MemoryPool, merged: list[FileFacts]) -> list[int]:
    held = []
    last = 0
    for table in module.file_rows(TRADES, merged, first=module.first_id):
        held.append(pool.bytes_allocated())
        assert table["trade_id"][0].as_py() == last + 1
        last = table["trade_id"][-1].as_py()
    assert last == sum(facts.rows for facts in merged)
    return held


def test_what_is_written_has_the_encodings_that_won(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 1000))
        group = pq.ParquetFile(opened.layout.trade_files(PAIR)[0]).metadata.row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        assert "DELTA_BINARY_PACKED" in columns["trade_id"].encodings
        assert columns["price"].has_dictionary_page
        assert not columns["qty"].has_dictionary_page
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        assert opened.coverage.spans(PAIR) == Spans.of_ids(range(1, 1001))
