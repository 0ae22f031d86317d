"""Any tool reads ``data/trades`` as a plain Hive directory and gets the same rows, also while it is being written.

A tool that lists folders by itself can meet the instant in which a compaction exchanges one (docs/format.md, Archive):
then it fails to open a file, or misses the folder. So each look is taken as that page says: it counts if no folder was
exchanged meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from recorder.core.model import Trade
from recorder.query import catalogue
from recorder.query.connect import connect
from tests.archives import START_US, Written, trade

PAIRS = ("BTC/USD", "ETH/USD")
YEAR_US = 366 * 86_400_000_000
BATCH = 5
MERGED = 8
"""Files are merged after so many batches."""


@dataclass(frozen=True)
class Sums:
    """What a tool makes of one pair: enough to tell rows that are missing, doubled or altered."""

    rows: int
    ids: int
    last_id: int
    price: Decimal
    qty: Decimal


Reader = Callable[[Path, str], Sums]


def by_pandas(data: Path, pair: str) -> Sums:
    frame: Any = pd.read_parquet(data / "trades", filters=[("pair", "==", pair)])
    ids = frame["trade_id"]
    return Sums(len(ids), ids.nunique(), int(ids.max()), frame["price"].sum(), frame["qty"].sum())


def by_dataset(data: Path, pair: str) -> Sums:
    partitions = ds.partitioning(pa.schema([("pair", pa.string()), ("year", pa.int32())]), flavor="hive")
    return of_arrow(ds.dataset(data / "trades", partitioning=partitions).to_table(filter=pc.field("pair") == pair))


def by_inferring_dataset(data: Path, pair: str) -> Sums:
    return of_arrow(ds.dataset(data / "trades", partitioning="hive").to_table(filter=pc.field("pair") == pair))


def of_arrow(table: pa.Table) -> Sums:
    return Sums(
        table.num_rows,
        pc.count_distinct(table["trade_id"]).as_py(),
        pc.max(table["trade_id"]).as_py(),
        pc.sum(table["price"]).as_py(),
        pc.sum(table["qty"]).as_py(),
    )


def by_polars(data: Path, pair: str) -> Sums:
    found = (
        pl.scan_parquet(data / "trades", hive_partitioning=True)
        .filter(pl.col("pair") == pair)
        .select(
            pl.len().alias("rows"),
            pl.col("trade_id").n_unique().alias("ids"),
            pl.col("trade_id").max().alias("last_id"),
            pl.col("price").sum(),
            pl.col("qty").sum(),
        )
        .collect()
    )
    return Sums(*found.row(0))


SUMS = "SELECT count(*), count(DISTINCT trade_id), max(trade_id), sum(price), sum(qty)"


def by_duckdb(data: Path, pair: str) -> Sums:
    files = f"read_parquet('{data}/trades/*/*/*.parquet', hive_partitioning = true)"
    with duckdb.connect() as client:
        return Sums(*client.execute(f"{SUMS} FROM {files} WHERE pair = ?", [pair]).fetchall()[0])


def by_printed_views(data: Path, pair: str) -> Sums:
    with duckdb.connect() as client:
        used = catalogue._files("plain", "trades")  # the rest of the script takes longer than a look
        client.execute("\n".join([catalogue.preamble(data), *map(catalogue.text, used)]))
        return Sums(*client.execute(f"{SUMS} FROM trades WHERE pair = ?", [pair]).fetchall()[0])


def by_connect(data: Path, pair: str) -> Sums:
    with connect(data) as opened:
        table = opened.sql(f"{SUMS} FROM trades WHERE pair = $pair", pair=pair, to="arrow", decimals=True)
        return Sums(*table.to_pylist()[0].values())


READERS: list[Reader] = [
    by_pandas, by_dataset, by_inferring_dataset, by_polars, by_duckdb, by_printed_views, by_connect
]  # fmt: skip
every_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)


def made(pair: str, number: int) -> list[Trade]:
    """Return a batch of trades; every other one lies in the next year."""
    return [
        trade(
            index,
            START_US + index * 1_000_000 + number % 2 * YEAR_US,
            f"{index}.000000000001",
            f"{index % 7 + 1}.00000001",
            pair=pair,
        )
        for index in range(number * BATCH + 1, (number + 1) * BATCH + 1)
    ]


def expected(pair: str, batches: int) -> Sums:
    rows = [row for number in range(batches) for row in made(pair, number)]
    last_id = rows[-1].trade_id
    return Sums(len(rows), len(rows), last_id, sum(row.price for row in rows), sum(row.qty for row in rows))  # type: ignore[arg-type]


@every_reader
def test_a_tool_that_knows_nothing_of_us_gets_every_row_exactly(archive: Written, reader: Reader) -> None:
    for pair in PAIRS:
        for number in range(4):
            archive.append(made(pair, number))
    for _ in range(2):
        assert [reader(archive.data, pair) for pair in PAIRS] == [expected(pair, 4) for pair in PAIRS]
        archive.compact()


def test_a_plain_look_has_our_types_and_partitions(archive: Written) -> None:
    archive.append(made("BTC/USD", 0))
    frame = pd.read_parquet(archive.data / "trades", filters=[("pair", "==", "BTC/USD")])
    assert frame["pair"].astype(str).tolist() == ["BTC/USD"] * BATCH
    assert frame["year"].astype(int).tolist() == [2025] * BATCH
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    assert frame["price"][0] == Decimal("1.000000000001")
    scanned = pl.read_parquet(archive.data / "trades", hive_partitioning=True)
    assert scanned["price"].to_list()[0] == Decimal("1.000000000001")
    assert scanned["pair"].to_list() == ["BTC/USD"] * BATCH
    assert scanned.schema["time"] == pl.Datetime("us", "UTC")


def test_pandas_reads_the_whole_folder_without_being_told_anything(archive: Written) -> None:
    for pair in PAIRS:
        archive.append(made(pair, 0))
    assert len(pd.read_parquet(archive.data / "trades")) == 2 * BATCH


def folders(data: Path) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_ino) for path in sorted(data.glob("trades/*/*"))]


def looks(reader: Reader, data: Path, pair: str, begins: Callable[[], None]) -> Iterator[Sums]:
    """Look again and again; what a look gives counts unless a folder was exchanged under it."""
    while True:
        found, before = None, []
        begins()
        with contextlib.suppress(Exception):  # each tool has its own word for a file that is gone
            before = folders(data)
            found = reader(data, pair)
        if found is not None and folders_or_none(data) == before:
            yield found


def folders_or_none(data: Path) -> list[tuple[str, int]] | None:
    try:
        return folders(data)
    except FileNotFoundError:
        return None


class Recording(threading.Thread):
    """Appends batch after batch, and merges files meanwhile, at the pace of a busy recorder.

    In each look it appends so many at most, or a slow machine would never get through ever more files.
    """

    def __init__(self, archive: Written) -> None:
        super().__init__()
        self._archive = archive
        self.stop = threading.Event()
        self.seen = threading.Event()
        self.batches = self._until = 1
        self.merges = 0

    def go_on(self) -> None:
        """Let it append some more."""
        self._until = self.batches + MERGED

    def run(self) -> None:
        while not self.stop.wait(0.02):
            if self.batches >= self._until:
                continue
            for pair in PAIRS:
                self._archive.append(made(pair, self.batches))
            self.batches += 1
            if self.batches % MERGED == 0 and self.seen.is_set():  # or a slow reader never had a look that counts
                self.seen.clear()
                self._archive.compact()
                self.merges += 1


@every_reader
def test_it_gets_them_while_a_recording_appends_and_compacts(archive: Written, reader: Reader) -> None:
    for pair in PAIRS:
        archive.append(made(pair, 0))
    recording = Recording(archive)
    recording.start()
    try:
        wrong: list[Any] = []
        for count, found in enumerate(looks(reader, archive.data, "BTC/USD", recording.go_on), start=1):
            recording.seen.set()
            batches = found.last_id // BATCH
            if found != expected("BTC/USD", batches):
                wrong.append(found)
            if (count >= 5 and recording.merges >= 3) or wrong:
                break
    finally:
        recording.stop.set()
        recording.join()
    assert wrong == []
    assert reader(archive.data, "BTC/USD") == expected("BTC/USD", recording.batches)


def test_pyspark_gets_every_row_exactly(archive: Written) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed; it is for whoever wants to check it")
    for number in range(4):
        archive.append(made("BTC/USD", number))
    session = sql.SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    try:
        frame = session.read.parquet(str(archive.data / "trades"))
        frame.createOrReplaceTempView("trades")
        found = Sums(*session.sql(f"{SUMS} FROM trades WHERE pair = 'BTC/USD'").collect()[0])
        assert found == expected("BTC/USD", 4)
    finally:
        session.stop()
