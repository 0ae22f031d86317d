"""One-minute candles of one pair: our exact macro against raw DuckDB with the same columns on one sorted file.

Run by hand: python -m benchmarks.candles [trades]. The answers are checked against each other and
timed in turns, in one process; the best of each counts. Target: 1.25 times raw DuckDB, and 0.5 more for a vwap that
is exact (raw DuckDB's is a double) and a column that says whether the bar is complete.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from recorder.archive import locks
from recorder.archive.datasets import INSTRUMENTS, Branch
from recorder.archive.footer import Footer, held_runs
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.parquet import write, write_new
from recorder.archive.schema import PRICE, QTY, TIME, TRADES
from recorder.archive.segment_tables import SegmentTables
from recorder.core.model import Instrument
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.disk import Disk
from recorder.query import catalogue
from recorder.query.connect import connect

PAIR = "BTC/USD"
START_US = 1_735_689_600_000_000  # 2025-01-01
FILES = 4
"""Files of the pair's year, about as many as compaction leaves."""
ROUNDS = 9
RAW = """
SELECT
    time_bucket(INTERVAL 1 MINUTE, time) AS time,
    arg_min(price, trade_id) AS open, max(price) AS high, min(price) AS low, arg_max(price, trade_id) AS close,
    sum(price * qty) / sum(qty) AS vwap, sum(qty) AS volume, count(*) AS count
FROM read_parquet($file)
GROUP BY ALL ORDER BY ALL
"""
OURS = "FROM candles($pair, '1m')"


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_500_000
    with tempfile.TemporaryDirectory() as folder:
        data, file = Path(folder) / "data", Path(folder) / "sorted.parquet"
        build(data, file, rows)
        with duckdb.connect() as client, connect(data) as archive:
            client.execute(catalogue.script(data))
            questions: dict[str, Callable[[], pa.Table]] = {
                "raw DuckDB, one sorted file": lambda: client.sql(RAW, params={"file": str(file)}).to_arrow_table(),
                "candles(), plain SQL": lambda: client.sql(OURS, params={"pair": PAIR}).to_arrow_table(),
                "recorder.connect().candles()": lambda: archive.candles(PAIR, "1m", to="arrow", decimals=True),
            }
            check(*(question() for question in questions.values()))
            best = dict.fromkeys(questions, float("inf"))
            for _ in range(ROUNDS):
                for name, question in questions.items():
                    began = time.perf_counter()
                    bars = question().num_rows
                    best[name] = min(best[name], time.perf_counter() - began)
    raw, *ours = best
    print(f"{rows:,} trades, {bars:,} bars, best of {ROUNDS}")
    print(f"{raw:30} {best[raw] * 1000:7.0f} ms")
    for name in ours:
        print(f"{name:30} {best[name] * 1000:7.0f} ms   ratio {best[name] / best[raw]:.2f} (target 1.25 + 0.5)")


def build(data: Path, file: Path, rows: int) -> None:
    layout, disk = Layout(data), Disk()
    create(layout, disk)
    table = market(rows)
    with locks.staging(layout, disk) as staging:
        year = layout.year_dir(PAIR, 2025)
        disk.make_dir(year)
        for part in range(FILES):
            some = table.slice(part * rows // FILES, (part + 1) * rows // FILES - part * rows // FILES)
            named = some["trade_id"][0].as_py(), some["trade_id"][-1].as_py()
            footer = Footer("trades", PAIR, held_runs(some, PAIR))
            write_new(some, footer, year, disk, named=named, staged_in=staging)
        write(table, Footer("trades", PAIR, held_runs(table, PAIR)), file, disk, staged_in=staging)
        instrument = Instrument(
            PAIR, "XXBTZUSD", "XBTUSD", "XBT/USD", "XXBT", "ZUSD", 1, 8, 5, "0.1", "0.00005", "0.5", "online"
        )
        tables = SegmentTables(layout, disk, staging=staging)
        tables.add(Branch(INSTRUMENTS), [(START_US, instrument)])
        tables.write(SegmentName("", MAIN_JOURNAL, 1))


def market(rows: int) -> pa.Table:
    """Return a random walk at one decimal, a trade every 1.5 s or so."""
    random = np.random.default_rng(1)
    times_us = START_US + np.cumsum(random.integers(0, 3_000_000, rows))
    prices = 420_000 + np.cumsum(random.integers(-3, 4, rows))
    sides = np.array(["buy", "sell"])[random.integers(0, 2, rows)]
    types = np.array(["limit", "market"])[random.integers(0, 2, rows)]
    return pa.table(
        [
            pa.array(np.arange(1, rows + 1)),
            pa.array(times_us).cast(TIME),
            decimals(prices * 10**11, PRICE),
            decimals(random.integers(1, 10**9, rows), QTY),
            pa.array(sides, pa.string()),
            pa.array(types, pa.string()),
            pa.array([""] * rows),
            pa.array(["ws"] * rows),
            pa.array(times_us + 30_000).cast(TIME),
        ],
        schema=TRADES,
    )


def decimals(scaled: np.ndarray[tuple[int], np.dtype[np.int64]], kind: pa.DataType) -> pa.Array:
    """Return positive integers as decimals: the low and the high half of each 128-bit number."""
    halves = np.zeros((len(scaled), 2), dtype=np.int64)
    halves[:, 0] = scaled
    return pa.Array.from_buffers(kind, len(scaled), [None, pa.py_buffer(halves.tobytes())])


def check(raw: pa.Table, *ours: pa.Table) -> None:
    for table in ours:
        for name in ("time", "open", "high", "low", "close", "volume", "count"):
            if table[name].to_pylist() != raw[name].to_pylist():
                raise SystemExit(f"{name} differs from raw DuckDB's")


if __name__ == "__main__":
    main()
