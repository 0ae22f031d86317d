"""Measure how fast an archive is verified: every row read, held against footers and checksums, and hashed.

Target (DESIGN 10): at least 5 M rows/s on two cores. Run by hand: python -m benchmarks.verify [rows in millions]
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from recorder.archive import verify_trades
from recorder.archive.footer import Footer, held_runs
from recorder.archive.layout import Layout
from recorder.archive.parquet import write_stream
from recorder.archive.schema import PRICE, QTY, TIME, TRADES
from recorder.disk import Disk

PAIR = "BTC/USD"
START_US = 1_735_689_600_000_000  # 2025-01-01
FILE_ROWS = 2_500_000
THREADS = 2


def trades(first_id: int, rows: int) -> pa.Table:
    """Return trades as they are: prices of one digit that walk, quantities of up to eight, 20 a second."""
    dice = np.random.default_rng(first_id)
    price = 1_000_000 + np.cumsum(dice.integers(-3, 4, rows))
    qty = dice.integers(1, 10**9, rows) // dice.choice([1, 10, 1000], rows) * dice.choice([1, 100], rows)
    time_us = START_US + first_id * 50_000 + np.sort(dice.integers(0, rows * 50_000, rows))
    words = [pa.array(["limit"]).take(pa.array(np.zeros(rows, np.int8))), pa.nulls(rows, pa.string()).fill_null("")]
    return pa.table(
        [
            pa.array(np.arange(first_id, first_id + rows)),
            pa.array(time_us).cast(TIME),
            decimals(price * 10**11, PRICE),
            decimals(qty, QTY),
            pa.array(["buy", "sell"]).take(pa.array(dice.integers(0, 2, rows))),
            *words,
            pa.array(["ws"]).take(pa.array(np.zeros(rows, np.int8))),
            pa.array(time_us + dice.integers(20_000, 80_000, rows)).cast(TIME),
        ],
        schema=TRADES,
    )


def decimals(unscaled: np.ndarray[tuple[int], np.dtype[np.int64]], kind: pa.DataType) -> pa.Array:
    halves = np.zeros((len(unscaled), 2), np.int64)
    halves[:, 0] = unscaled
    return pa.Array.from_buffers(kind, len(unscaled), [None, pa.py_buffer(halves)])


def write(year: Path, rows: int) -> None:
    for first_id in range(1, rows + 1, FILE_ROWS):
        table = trades(first_id, min(FILE_ROWS, rows + 1 - first_id))
        footer = Footer("trades", PAIR, held_runs(table, PAIR))
        write_stream([table], TRADES, footer, year, Disk(), named=(first_id, first_id + table.num_rows - 1))


def main() -> None:
    rows = int(float(sys.argv[1] if len(sys.argv) > 1 else 10) * 1_000_000)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        layout = Layout(Path(folder))
        year = layout.year_dir(PAIR, 2025)
        year.mkdir(parents=True)
        # In a process of its own, so that the peak of memory is that of reading.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(year, rows))
        writer.start()
        writer.join()
        for attempt in range(3):
            before = time.process_time()
            started = time.perf_counter()
            with ThreadPoolExecutor(THREADS) as pool:
                content = verify_trades.read(layout, PAIR, pool)
            took = time.perf_counter() - started
            assert not content.findings
            assert sum(day.rows for day in content.days.values()) == rows
            cores = (time.process_time() - before) / took
            print(
                f"verify {attempt + 1}  {rows / took:12,.0f} rows/s   ({rows:,} rows, {len(content.days)} days in "
                f"{took:.2f} s, {cores:.2f} cores; target 5,000,000)"
            )
        size = sum(path.stat().st_size for path in year.iterdir())
        print(f"{size / rows:.2f} bytes a row")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
