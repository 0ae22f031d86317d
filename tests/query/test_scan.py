from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from polars.testing import assert_frame_equal
from pyarrow import fs

import recorder
from recorder.core.model import Event
from recorder.errors import FilesReplaced, GapError, UnsoundFile, UsageError
from recorder.query import dataset_scan, scan
from tests.archives import START, START_US, Written, trade, trades

PAIR, ETH = "BTC/USD", "ETH/USD"


@pytest.fixture(autouse=True)
def file_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a group of files be as small as it can be, so that each test has several."""
    monkeypatch.setattr(scan, "_TOGETHER_ROWS", 3)


@pytest.fixture
def files(archive: Written) -> Written:
    """Archive two pairs in several files, two of which overlap, and journal what comes between and behind."""
    archive.append(trades(1, 4))
    archive.append([trade(5), trade(9)])
    archive.append(trades(6, 7))
    archive.append(trades(10, 14))
    archive.append(trades(1, 2, pair=ETH))
    archive.journalled([*trades(7, 8), *trades(14, 17)])
    return archive


def ids(found: pl.DataFrame) -> list[int]:
    return found["trade_id"].to_list()


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_a_scan_has_the_rows_and_columns_of_trades(files: Written, engine: Any) -> None:
    with recorder.connect(files.data, live=True) as opened:
        eager = opened.trades([ETH, PAIR], to="polars", decimals=True)
        lazy = opened.scan([ETH, PAIR])
        words = [name for name, kind in eager.schema.items() if kind in {pl.Categorical, pl.Enum}]
        found = lazy.collect(engine=engine)
        assert lazy.collect_schema() == found.schema
        assert_frame_equal(found, eager.with_columns(pl.col(words).cast(pl.String)), check_dtypes=False)
        assert found.schema["price"] == pl.Decimal(28, 12)


QUESTIONS: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "columns": lambda lazy: lazy.select("price", "pair"),
    "no column": lambda lazy: lazy.select(pl.len()),
    "ids": lambda lazy: lazy.filter(pl.col("trade_id").is_between(5, 11)).select("time"),
    "times": lambda lazy: lazy.filter(pl.col("time") > START + timedelta(seconds=9)),
    "a pair": lambda lazy: lazy.filter(pl.col("pair") == ETH),
    "the first ones": lambda lazy: lazy.head(6).select("qty"),
    "the first ones of some": lambda lazy: lazy.filter(pl.col("trade_id") > 4).head(3),
    "some of the first ones": lambda lazy: lazy.head(12).filter(pl.col("trade_id") > 4).select("side"),
    "those between": lambda lazy: lazy.slice(4, 9).select("trade_id"),
    "the last ones": lambda lazy: lazy.tail(3),
    "both sides of a join": lambda lazy: lazy.join(lazy.head(3), on="trade_id").sort("trade_id", "pair", "pair_right"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_pushed_down_changes_no_answer(files: Written, question: str) -> None:
    with recorder.connect(files.data, live=True) as opened:
        lazy = opened.scan([PAIR, ETH])
        expected = QUESTIONS[question](lazy.collect().lazy()).collect()
        for engine in ("in-memory", "streaming"):
            assert_frame_equal(QUESTIONS[question](lazy).collect(engine=engine), expected)


def test_what_is_not_asked_for_is_not_read(archive: Written) -> None:
    archive.append(trades(1, 4))
    archive.append(trades(5, 8))
    (path,) = [path for path in archive.files() if "000000000001-" in path.name]
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])  # pages, not the footer
    with recorder.connect(archive.data) as opened:
        lazy = opened.scan(PAIR)
        assert ids(lazy.filter(pl.col("trade_id") > 4).collect()) == [5, 6, 7, 8]
        assert ids(lazy.filter(pl.col("time") > START + timedelta(seconds=6)).collect()) == [7, 8]
        with pytest.raises(pl.exceptions.ComputeError):
            lazy.collect()
    with recorder.connect(archive.data, check=True) as opened, pytest.raises(UnsoundFile, match="is damaged"):
        opened.scan(PAIR).collect()


def test_each_collection_lists_the_archive_anew(archive: Written) -> None:
    archive.append(trades(1, 3))
    with recorder.connect(archive.data) as opened:
        lazy = opened.scan(PAIR)
        assert ids(lazy.collect()) == [1, 2, 3]
        archive.append(trades(4, 6))
        archive.compact()
        assert ids(lazy.collect()) == [*range(1, 7)]


def test_files_that_a_compaction_replaces_while_they_are_read_lose_and_double_nothing(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in range(1, 20, 2):
        archive.append(trades(first, first + 1))
    listed = scan._group
    looks = 0

    def then_compacted(parts: Any) -> list[scan.Part]:
        nonlocal looks
        looks += 1
        if looks == 2:
            archive.append(trades(21, 22))  # merged with those that the scan listed
            archive.compact()
        return listed(parts)

    monkeypatch.setattr(scan, "_group", then_compacted)
    with recorder.connect(archive.data) as opened:
        assert ids(opened.scan(PAIR).collect()) == [*range(1, 21)]
        assert ids(opened.scan(PAIR).collect()) == [*range(1, 23)]


def test_a_scan_of_a_kept_snapshot_has_its_rows_wherever_they_are(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.append(trades(5, 6))
    archive.journalled([trade(4)])
    with recorder.connect(archive.data, live=True, frozen=True) as opened:
        archive.append([trade(7)])
        archive.drain()
        archive.compact()
        assert ids(opened.scan(PAIR).collect()) == [*range(1, 7)]
        assert sorted(opened.scan(PAIR, to="dataset").to_table()["trade_id"].to_pylist()) == [*range(1, 7)]


def test_a_gap_in_the_range_is_an_error_a_warning_or_ignored(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(5, 7)])
    with recorder.connect(archive.data) as opened:
        for to in ("polars", "dataset"):

            def count(start: Any = None, *, to: Any = to, **how: Any) -> int:
                found = opened.scan(PAIR, start, to=to, **how)
                return int(found.collect().height if to == "polars" else found.count_rows())

            with pytest.raises(GapError, match="BTC/USD lacks 1"):
                count()
            assert count(START + timedelta(seconds=6)) == 2, "the gap is before it"
            assert count(on_gap="ignore") == 6
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                assert count(on_gap="warn") == 6
            assert ["BTC/USD lacks 1" in str(one.message) for one in told] == [True]
        lazy = opened.scan(PAIR)
        archive.noted(Event(START_US, "void", PAIR, '{"first_id":4,"last_id":4}'))
        assert lazy.collect().height == 6, "an id that does not exist is not missing"


def test_it_judges_gaps_as_trades_does(archive: Written) -> None:
    archive.append(trades(10, 12))
    starts = [None, START, START + timedelta(seconds=11)]
    promises = ["", f'{{"time_us":{START_US}}}']

    def outcome(ask: Callable[[], int]) -> int | str:
        try:
            return ask()
        except GapError as error:
            return str(error)

    with recorder.connect(archive.data) as opened:
        for promise in promises:
            if promise:
                archive.noted(Event(START_US, "promised", PAIR, promise))
                anchor = f'{promise[:-1]},"after_id":8,"assumed":false}}'
                archive.noted(Event(START_US, "anchored", PAIR, anchor))
            for start in starts:
                eager = outcome(lambda start=start: len(opened.trades(PAIR, start)))  # type: ignore[misc]
                lazy = outcome(lambda start=start: opened.scan(PAIR, start, to="dataset").count_rows())  # type: ignore[misc]
                assert lazy == eager


READS: list[Callable[[ds.Dataset], Any]] = [
    lambda found: found.to_table(),
    lambda found: list(found.to_batches()),
    lambda found: found.head(20),
    lambda found: found.take([0]),
    lambda found: found.count_rows(ds.field("trade_id") > 0),
    lambda found: found.sort_by("trade_id"),
    lambda found: found.join(ds.dataset(pa.table({"trade_id": [3]})), "trade_id"),
]


def test_a_dataset_is_read_by_other_engines_and_is_a_clear_error_once_its_files_went(files: Written) -> None:
    with recorder.connect(files.data, live=True) as opened:
        found = opened.scan([PAIR, ETH], to="dataset")
        asked = "SELECT pair, count(*), max(trade_id) FROM found GROUP BY pair ORDER BY pair"
        assert duckdb.execute(asked).fetchall() == [(PAIR, 17, 17), (ETH, 2, 2)]
        assert pl.scan_pyarrow_dataset(found).filter(pl.col("trade_id") > 16).collect().height == 1
        assert found.to_table(columns=["price"]).schema.field("price").type.precision == 28
        files.compact()
        begun: list[Callable[[ds.Dataset], Any]] = [
            lambda found: found.scanner(columns=["qty"]),
            lambda found: found.get_fragments(),
            lambda found: pl.scan_pyarrow_dataset(found).collect(),
        ]
        for read in READS + begun:
            with pytest.raises(FilesReplaced, match="scan again"):
                read(found)
        with pytest.raises(duckdb.Error, match="scan again"):
            duckdb.execute(asked).fetchall()
        assert opened.scan(PAIR, to="dataset").count_rows() == 17


def test_arrows_threads_call_no_python_to_read_a_dataset(files: Written) -> None:
    """With a file system in Python, pyarrow may wait for ever for threads that wait for the interpreter."""
    with recorder.connect(files.data, live=True) as opened:
        found = opened.scan([PAIR, ETH], to="dataset")
        stored = [child for child in found.children if not isinstance(child, ds.InMemoryDataset)]
        assert [type(child.filesystem) for child in stored] == [fs.LocalFileSystem] * 2
        assert {type(fragment.filesystem) for child in stored for fragment in child.get_fragments()} == {
            fs.LocalFileSystem
        }


def test_a_file_that_goes_while_a_dataset_is_read_is_as_clear_an_error(
    files: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorder.connect(files.data) as opened:
        found = opened.scan(PAIR, to="dataset", on_gap="ignore")
    files.compact()
    monkeypatch.setattr(dataset_scan._Listed, "_look", lambda _: None)  # as if they had been there a moment ago
    for read in READS:
        with pytest.raises(FilesReplaced, match="scan again"):
            read(found)
    ids, other = found.replace_schema(pa.schema({"trade_id": pa.int64()})), ds.dataset(pa.table({"id": [3]}))
    with pytest.raises(FilesReplaced, match="scan again"):
        ids.join_asof(other, "trade_id", [], 0, "id")  # which has no decimals


def test_a_file_that_goes_while_a_dataset_is_made_is_as_clear_an_error(
    files: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = scan.Scan.parts

    def then_compacted(*asked: Any) -> list[scan.Part]:
        found = listed(*asked)
        files.compact()
        return found

    monkeypatch.setattr(scan.Scan, "parts", then_compacted)
    with (
        recorder.connect(files.data, live=True, check=True) as opened,
        pytest.raises(FilesReplaced, match="scan again"),
    ):
        opened.scan(PAIR, to="dataset")


COPIES: list[Callable[[ds.Dataset], ds.Dataset]] = [
    lambda found: found.filter(ds.field("trade_id") > 0),
    lambda found: found.replace_schema(found.schema),
    lambda found: pickle.loads(pickle.dumps(found)),
]


@pytest.mark.parametrize("pairs", [[PAIR], [PAIR, ETH]])
def test_a_copy_of_a_dataset_has_its_rows_and_errors(files: Written, pairs: list[str]) -> None:
    with recorder.connect(files.data) as opened:
        found = opened.scan(pairs, START + timedelta(seconds=2), to="dataset", on_gap="ignore")
    rows = found.to_table().sort_by([("pair", "ascending"), ("trade_id", "ascending")])
    copies = [copied(found) for copied in COPIES]
    for copy in copies:
        assert copy.to_table().sort_by([("pair", "ascending"), ("trade_id", "ascending")]) == rows
    copies += getattr(found, "children", [])[:1]
    files.compact()
    for copy in copies:
        with pytest.raises(FilesReplaced, match="scan again"):
            copy.to_table()


def test_a_dataset_has_only_what_is_in_the_range(files: Written) -> None:
    with recorder.connect(files.data, live=True) as opened:
        found = opened.scan(PAIR, START + timedelta(seconds=4), START + timedelta(seconds=16), to="dataset")
        assert sorted(found.to_table()["trade_id"].to_pylist()) == [*range(4, 16)]


def test_with_check_a_damaged_file_is_an_error_before_a_dataset_is_made(archive: Written) -> None:
    archive.append(trades(1, 4))
    (path,) = archive.files()
    content = path.read_bytes()
    path.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    with recorder.connect(archive.data, check=True) as opened, pytest.raises(UnsoundFile):
        opened.scan(PAIR, to="dataset")


def test_what_cannot_be_scanned_says_so(archive: Written) -> None:
    archive.append(trades(1, 3))
    with recorder.connect(archive.data) as opened:
        with pytest.raises(UsageError, match="polars"):
            opened.scan(PAIR, to="pandas")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="BTC/USD"):
            opened.scan("BTC/US", to="dataset")
        with pytest.raises(UsageError, match="did you mean BTC/USD"):
            opened.scan("BTC/US").collect()
