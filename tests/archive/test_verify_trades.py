from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.archive import check_readable, verify_trades
from recorder.archive.compaction import compact
from recorder.archive.datasets import TRADES
from recorder.archive.duplicate_files import MOVE_ONE_OUT
from recorder.archive.footer import Footer, held_runs
from recorder.archive.integrity import ALL_DAYS, Days, Finding
from recorder.archive.layout import Layout, digest_in, listed
from recorder.archive.open_archive import create
from recorder.archive.parquet import check_digest
from recorder.archive.parquet import write as write_file
from recorder.archive.schema import trades_table
from recorder.archive.trades import TradeArchive
from recorder.archive.verify_trades import Content
from recorder.core.certificate import DAY_US, DayRows, utc_day
from recorder.core.model import Event, Trade, plain
from recorder.core.trade_ids import Run, Span
from recorder.errors import StorageError, UnsoundFile
from tests.archive.rows import PAIR, START_US, YEAR_END_US, archive, over_new_year, trade, trades
from tests.archives import candle, name_as_before, writing
from tests.powercut import Unsynced

DAY = utc_day(START_US)
HOUR_US = 3_600_000_000


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as opened:
        yield opened


def hourly(first_id: int, last_id: int) -> list[Trade]:
    """Return trades an hour apart, id 0 at START_US."""
    return [trade(trade_id, START_US + trade_id * HOUR_US) for trade_id in range(first_id, last_id + 1)]


def day_rows(rows: Sequence[Trade]) -> dict[date, DayRows]:
    """Return what is held of each day, by the words of docs/format.md."""
    found: dict[date, DayRows] = {}
    for day in {utc_day(row.time_us) for row in rows}:
        inside = sorted((row for row in rows if utc_day(row.time_us) == day), key=lambda row: row.trade_id)
        text = "".join(f"{row.trade_id},{plain(row.price)},{plain(row.qty)},{row.side}\n" for row in inside)
        times_us = [row.time_us for row in inside]
        digest = hashlib.sha256(text.encode()).hexdigest()
        found[day] = DayRows(len(inside), inside[0].trade_id, inside[-1].trade_id, min(times_us), max(times_us), digest)
    return found


def write(rows: Sequence[Trade], path: Path, footer: Footer | None = None) -> Path:
    """Put a file of these rows at ``path``, with the footer that fits or another."""
    table = trades_table(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = footer or Footer("trades", PAIR, held_runs(table, PAIR))
    write_file(table, own, path, Unsynced(), staged_in=path.parents[3] / ".staging")
    return path


def test_what_is_held_of_each_day_is_counted_and_hashed(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    rows = hourly(1, 60)
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, [*rows[40:50], *rows[:5]])  # files that overlap
        opened.append(PAIR, [*rows[5:30], *rows[50:]])
        content = verify_trades.read(opened.layout, PAIR, pool)
    kept = [*rows[:30], *rows[40:]]
    assert content == Content(
        PAIR,
        runs=(
            Run(PAIR, Span(1, 30), rows[0].time_us, rows[29].time_us),
            Run(PAIR, Span(41, 60), rows[40].time_us, rows[59].time_us),
        ),
        days=day_rows(kept),
        findings=(),
    )


FILES = st.lists(st.sets(st.integers(1, 90), min_size=1, max_size=30), min_size=1, max_size=5)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=FILES, batch=st.integers(1, 9))
def test_neither_files_nor_batches_nor_compaction_change_what_is_found(
    tmp_path_factory: pytest.TempPathFactory, pool: ThreadPoolExecutor, held: list[set[int]], batch: int
) -> None:
    with archive(tmp_path_factory.mktemp("data"), Unsynced()) as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_trades, "_BATCH", batch)
        for ids in held:
            opened.append(PAIR, [row for row in hourly(1, 90) if row.trade_id in ids])
        content = verify_trades.read(opened.layout, PAIR, pool)
        everything = set().union(*held)
        assert not content.findings
        assert content.days == day_rows([row for row in hourly(1, 90) if row.trade_id in everything])
        while compact(opened, PAIR, today=date(9999, 1, 1)):
            pass
        assert verify_trades.read(opened.layout, PAIR, pool) == content


def test_a_year_ends_where_the_next_begins(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    rows = over_new_year(range(1, 11))
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, rows)
        content = verify_trades.read(opened.layout, PAIR, pool)
    assert content.days == day_rows(rows)
    assert [run.span for run in content.runs] == [Span(1, 10)]


def damaged_page(opened: TradeArchive) -> Path:
    path = opened.layout.trade_files(PAIR)[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    return path


def torn(opened: TradeArchive) -> Path:
    path = opened.layout.trade_files(PAIR)[1]
    path.write_bytes(path.read_bytes()[:-9])
    return path


def emptied(opened: TradeArchive) -> Path:
    path = opened.layout.trade_files(PAIR)[1]
    path.write_bytes(b"")
    return path


def footer_gone(opened: TradeArchive) -> Path:
    path = opened.layout.trade_files(PAIR)[1]
    pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata(None), path)
    return path


def other_columns(opened: TradeArchive) -> Path:
    path = opened.layout.trade_files(PAIR)[1]
    table = pq.read_table(path, partitioning=None)
    footer = pq.read_metadata(path).metadata
    pq.write_table(
        table.set_column(2, "price", table["price"].cast(pa.float64())).replace_schema_metadata(footer), path
    )
    return path


def another_table(opened: TradeArchive) -> Path:
    path = opened.layout.trade_files(PAIR)[1]
    pq.write_table(pa.table({"a": [1]}), path)
    return path


def swapped(opened: TradeArchive, change: Callable[[list[Trade]], list[Trade]], footer: Footer | None = None) -> Path:
    """Replace the second file by one of rows that are changed, as they are or with another footer."""
    path = opened.layout.trade_files(PAIR)[1]
    path.unlink()
    return write(change(hourly(11, 20)), path, footer)


def claims_more(opened: TradeArchive) -> Path:
    spans = (Run(PAIR, Span(11, 21), START_US + 11 * HOUR_US, START_US + 21 * HOUR_US),)
    return swapped(opened, lambda rows: rows, Footer("trades", PAIR, spans))


def claims_others(opened: TradeArchive) -> Path:
    spans = held_runs(trades_table([*hourly(11, 15), *hourly(17, 21)]), PAIR)
    return swapped(opened, lambda rows: rows, Footer("trades", PAIR, spans))


def claims_later_ones(opened: TradeArchive) -> Path:
    return swapped(opened, lambda rows: rows, Footer("trades", PAIR, held_runs(trades_table(hourly(12, 21)), PAIR)))


def claims_other_times(opened: TradeArchive) -> Path:
    spans = (Run(PAIR, Span(11, 20), START_US + 11 * HOUR_US, START_US + 20 * HOUR_US + 1),)
    return swapped(opened, lambda rows: rows, Footer("trades", PAIR, spans))


def an_id_twice(opened: TradeArchive) -> Path:
    spans = (Run(PAIR, Span(11, 20), START_US + 11 * HOUR_US, START_US + 20 * HOUR_US),)
    return swapped(opened, lambda rows: [*rows[:5], *rows[4:9]], Footer("trades", PAIR, spans))


def another_pair(opened: TradeArchive) -> Path:
    footer = Footer("trades", "ETH/USD", held_runs(trades_table(hourly(11, 20)), PAIR))
    return swapped(opened, lambda rows: rows, footer)


def another_year(opened: TradeArchive) -> Path:
    def later(rows: list[Trade]) -> list[Trade]:
        return [trade(row.trade_id, YEAR_END_US + row.trade_id) for row in rows]

    return swapped(opened, later)


def no_year(opened: TradeArchive) -> Path:
    return swapped(opened, lambda rows: [trade(row.trade_id, 2**62 + row.trade_id) for row in rows])


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (damaged_page, "is damaged"),
        (torn, "is not a complete Parquet file"),
        (emptied, "is not a complete Parquet file"),
        (footer_gone, "is none of ours"),
        (other_columns, "has other columns"),
        (another_table, "is none of ours"),
        (claims_more, "holds 10 rows, but its footer claims 11 ids"),
        (claims_others, "holds ids 11 to 20 of 2025-11-10T11:00:00.000000Z"),
        (claims_later_ones, "where its footer claims ids 12 to 21"),
        (claims_other_times, "to 2025-11-10T20:00:00.000001Z"),
        (an_id_twice, "has id 15 after 15: its ids do not go up"),
        (another_pair, "says it holds trades of ETH/USD, and lies among trades of BTC/USD"),
        (another_year, "holds a row of 2026, and lies in year=2025"),
        (no_year, "is damaged"),
    ],
)
def test_a_file_that_is_not_sound_is_one_finding_and_proves_nothing(
    tmp_path: Path, pool: ThreadPoolExecutor, harm: Callable[[TradeArchive], Path], problem: str
) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in (1, 11, 21):
            opened.append(PAIR, hourly(first, first + 9))
        name_as_before(tmp_path)
        path = harm(opened)
        content = verify_trades.read(opened.layout, PAIR, pool)
    (finding,) = content.findings
    assert finding.file == path
    assert problem in finding.problem
    assert "move it" in finding.remedy
    assert [run.span for run in content.runs] == [Span(1, 10), Span(21, 30)]
    assert content.days == day_rows([*hourly(1, 10), *hourly(21, 30)])


def test_a_flipped_bit_that_reads_well_is_found_by_its_pages_checksum(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    def flipped(path: Path, whole: bytes, at: int) -> pa.Table | None:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            return pq.read_table(path, partitioning=None)
        except (pa.ArrowException, OSError):
            return None

    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, hourly(1, 10))
        name_as_before(tmp_path)
        (path,) = opened.layout.trade_files(PAIR)
        whole, good = path.read_bytes(), pq.read_table(path, partitioning=None)
        tables = (flipped(path, whole, at) for at in range(4, len(whole)))
        silent = (table for table in tables if table is not None and table != good)
        next(table for table in silent if table.select(["trade_id", "time"]) == good.select(["trade_id", "time"]))
        (finding,) = verify_trades.read(opened.layout, PAIR, pool).findings
    assert "CRC checksum verification failed" in finding.problem


def test_each_of_many_damaged_files_is_found(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in range(1, 60, 10):
            opened.append(PAIR, hourly(first, first + 9))
        paths = opened.layout.trade_files(PAIR)
        for path in paths[:5]:
            content = bytearray(path.read_bytes())
            content[len(content) // 4] ^= 1
            path.write_bytes(content)
        content_found = verify_trades.read(opened.layout, PAIR, pool)
    assert [finding.file for finding in content_found.findings] == paths[:5]
    assert [run.span for run in content_found.runs] == [Span(51, 60)]


def test_an_id_that_two_files_hold_is_counted_once_and_found(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, hourly(1, 10))
        opened.append(PAIR, hourly(21, 30))
        first, second = opened.layout.trade_files(PAIR)
        third = write(hourly(10, 21), first.with_name("x.parquet"))
        content = verify_trades.read(opened.layout, PAIR, pool)
    assert content.findings == (
        Finding(third, f"holds id 10 as {first} does", MOVE_ONE_OUT),
        Finding(second, f"holds id 21 as {third} does", MOVE_ONE_OUT),
    )
    assert content.days == day_rows(hourly(1, 30))
    assert [run.span for run in content.runs] == [Span(1, 30)]


def test_a_file_that_lies_in_no_year_is_found(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, hourly(1, 10))
        (path,) = opened.layout.trade_files(PAIR)
        strays = [path.parents[1] / "copy" / "a.parquet", path.parents[1] / "b.parquet"]
        strays[0].parent.mkdir()
        for stray in strays:
            shutil.copy(path, stray)
        content = verify_trades.read(opened.layout, PAIR, pool)
    assert content.findings == tuple(
        Finding(stray, "lies in no year of its pair", TRADES.remedy) for stray in sorted(strays)
    )
    assert content.days == day_rows(hourly(1, 10))


def test_of_files_of_years_that_were_not_asked_for_only_the_footers_are_read(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    rows = [trade(trade_id, START_US + (trade_id - 13) * 30 * DAY_US) for trade_id in range(1, 37)]
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, rows)
        paths = opened.layout.trade_files(PAIR)
        for path in (paths[0], paths[-1]):
            content = bytearray(path.read_bytes())
            content[len(content) // 4] ^= 1
            path.write_bytes(content)
        done: list[int] = []
        found = verify_trades.read(opened.layout, PAIR, pool, days=Days(DAY, DAY), done=done.append)
        assert sum(done) == verify_trades.size(opened.layout, PAIR)
    assert len(paths) >= 3
    assert not found.findings
    assert found.days == {day: held for day, held in day_rows(rows).items() if day == DAY}
    assert [run.span for run in found.runs] == [Span(1, 36)]


def flips(path: Path, count: int) -> Iterator[int]:
    """Change one bit of a file after the other, and yield of which byte it is; the file is whole again at the end."""
    whole = path.read_bytes()
    for at in random.Random(13).sample(range(len(whole)), count):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        yield at
    path.write_bytes(whole)


def test_a_changed_bit_of_any_table_s_file_is_found(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as written:
        written.append(hourly(1, 10))
        written.listed(PAIR, 1)
        written.published([candle(0)])
        written.noted(Event(1, "void", PAIR, "{}"))
    found = [path for path in written.data.rglob("*.parquet") if digest_in(path.name)]
    for path in found:
        for at in flips(path, 300):
            try:
                check_digest(path)
            except UnsoundFile as error:
                assert "is damaged: the SHA-256" in error.problem  # noqa: PT017
            else:
                pytest.fail(f"byte {at} of {path}")
        assert check_digest(path)
    assert len(found) == 4


def test_a_changed_bit_in_an_older_file_is_found_if_it_changes_a_row(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, hourly(1, 10))
        name_as_before(tmp_path)
        (path,) = opened.layout.trade_files(PAIR)
        good = verify_trades.read(opened.layout, PAIR, pool)
        for at in flips(path, 100):
            found = verify_trades.read(opened.layout, PAIR, pool)
            assert found.findings or found == good, f"byte {at}"


def test_a_file_that_ends_whoever_parses_it_is_a_finding_by_its_digest_or_by_a_child(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: object, **__: object) -> bool:
        return False

    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, hourly(1, 10))
        opened.append(PAIR, hourly(11, 20))
        first, _ = opened.layout.trade_files(PAIR)
        monkeypatch.setattr(check_readable.Probe, "survives", ends)
        assert not verify_trades.read(opened.layout, PAIR, pool).findings, "no child is needed"
        first = first.rename(first.with_name("1-10-a.parquet"))
        (finding,) = verify_trades.read(opened.layout, PAIR, pool).findings
    assert (finding.file, finding.problem) == (first, "is damaged such that reading it ends the process that does")


def test_days_have_two_ends_each_of_which_may_be_open() -> None:
    day = date(2025, 11, 10)
    span = (Run(PAIR, Span(1, 2), START_US, START_US + 1),)
    far = timedelta(days=3)
    assert day in Days(day, day)
    assert day not in Days(day + far)
    assert day not in Days(None, day - far)
    assert ALL_DAYS.touch(span)
    assert Days(day, day).touch(span)
    assert not Days(day + far).touch(span)
    assert not Days(None, day - far).touch(span)


def test_a_compaction_meanwhile_takes_nothing_away(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in (1, 11):
            opened.append(PAIR, hourly(first, first + 9))
        before = set(opened.layout.trade_files(PAIR))

        def merge(_: int) -> None:
            compact(opened, PAIR, today=date(9999, 1, 1))

        content = verify_trades.read(opened.layout, PAIR, pool, done=merge)
        assert before.isdisjoint(opened.layout.trade_files(PAIR))
    assert not content.findings
    assert content.days == day_rows(hourly(1, 20))


def test_a_folder_that_changes_while_it_is_listed_is_listed_again(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, looks = listed, 0

    def exchanged(directory: Path) -> list[str]:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise FileNotFoundError
        return original(directory)

    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, hourly(1, 10))
        monkeypatch.setattr("recorder.archive.integrity.listed", exchanged)
        assert verify_trades.read(opened.layout, PAIR, pool).days == day_rows(hourly(1, 10))
        monkeypatch.setattr("recorder.archive.integrity.listed", lambda _: ["gone.parquet"])
        with pytest.raises(StorageError, match="keep changing"):
            verify_trades.read(opened.layout, PAIR, pool)


def test_all_bytes_are_told_of_as_they_are_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 5000))
        opened.append(PAIR, trades(5001, 5100))
        done: list[int] = []
        verify_trades.read(opened.layout, PAIR, pool, done=done.append)
        assert sum(done) == verify_trades.size(opened.layout, PAIR) > 0


def test_of_files_that_overlap_fewer_rows_are_in_hand_of_each(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_trades, "_ROWS_IN_HAND", 20)
    with archive(tmp_path, Unsynced()) as opened:
        for ids in ([1, 100], [2, 99], [3, 50], [51, 98], [101, 102]):
            opened.append(PAIR, [row for row in hourly(1, 102) if row.trade_id in ids])
        with contextlib.ExitStack() as stack:
            (year,) = opened.layout.years(PAIR)
            found, _ = verify_trades._opened(year, PAIR, stack)
            assert verify_trades._side_by_side(found) == 3
        content = verify_trades.read(opened.layout, PAIR, pool)
    assert sum(day.rows for day in content.days.values()) == 10
    assert verify_trades._side_by_side([]) == 0


def test_a_pair_without_files_holds_nothing(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.layout.pair_dir(PAIR).mkdir()
        assert verify_trades.read(opened.layout, PAIR, pool) == Content(PAIR, (), {}, ())


def test_reading_streams_however_many_rows_there_are(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Arrow's pool is asked how much it ever held."""
    rows = 400_000
    table = trades_table([trade(1)])
    filled = {name: pa.repeat(table[name][0], rows) for name in table.column_names}
    ids = pa.array(range(1, rows + 1), pa.int64())
    whole = pa.table([ids, *list(filled.values())[1:]], schema=table.schema)
    layout = Layout(tmp_path)
    create(layout, Unsynced())
    path = layout.year_dir(PAIR, 2025) / "a.parquet"
    path.parent.mkdir(parents=True)
    write_file(whole, Footer("trades", PAIR, held_runs(whole, PAIR)), path, Unsynced(), staged_in=layout.staging)
    size = whole.nbytes
    del whole, filled, ids
    memory = pa.default_memory_pool()
    before, peak = memory.bytes_allocated(), 0

    def watch(_: int) -> None:
        nonlocal peak
        peak = max(peak, memory.bytes_allocated() - before)

    content = verify_trades.read(layout, PAIR, pool, done=watch)
    assert sum(day.rows for day in content.days.values()) == rows
    assert size > 30_000_000
    assert peak < 25_000_000
