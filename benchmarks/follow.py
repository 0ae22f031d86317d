"""Follow a journal that another process writes, and scan the same archive: latency, and CPU time a row.

Run by hand: python -m benchmarks.follow [--rate N] [--seconds N] [--rows N]. Trades are journalled in a group commit
every 20 ms, as by the daemon at its usual setting. Latency is from the end of the commit's sync to the delivery; it
includes on average half of the interval between two polls. CPU time is that of the following process, all threads.
History is then followed from the archive's first trade, and scanned with polars beside polars' own reader of the files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

import recorder
from recorder.archive import locks
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.trades import TradeArchive
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from tests.archives import START_US, frame, trades

PAIR = "BTC/USD"
COMMIT_S = 0.02
FILE_ROWS = 250_000
ROUNDS = 5


def journal(
    data: Path, first: int, rate: int, seconds: int, ends: multiprocessing.Queue[list[tuple[int, float]]]
) -> None:
    """Write as the daemon does; tell with which id each commit ended, and when it was durable."""
    with locks.staging(Layout(data), Disk()) as staging:
        writer = Journal(data, Disk(), staging=staging, now_ns=time.time_ns())
        told, begun_s, following = [], time.monotonic(), first
        while (elapsed_s := time.monotonic() - begun_s) < seconds:
            last = first + int(elapsed_s * rate)
            lines = [
                segment.encode(time.time_ns(), "ws:trade:1", frame(trades(number, number)), parsed=True)
                for number in range(following, last + 1)
            ]
            if lines:
                writer.append(lines)
                told.append((last, time.monotonic()))
                following = last + 1
            time.sleep(COMMIT_S)
        writer.close()
    ends.put(told)


def live(data: Path, first: int, rate: int, seconds: int) -> None:
    """Follow what another process journals."""
    ends: multiprocessing.Queue[list[tuple[int, float]]] = multiprocessing.Queue()
    with recorder.connect(data) as archive, archive.follow(PAIR) as follower:
        next_id = first
        writer = multiprocessing.Process(target=journal, args=(data, first, rate, seconds, ends))
        cpu_s = time.process_time()
        writer.start()
        came = list[float]()
        while len(came) < rate * (seconds - 1):
            trade = next(follower)
            came.append(time.monotonic())
            assert trade.trade_id == next_id
            next_id += 1
        cpu_s = time.process_time() - cpu_s
    commits = ends.get()
    writer.join()
    late_ms = [(came[last - first] - durable_s) * 1e3 for last, durable_s in commits if last - first < len(came)]
    shares = statistics.quantiles(late_ms, n=100)
    print(f"live, {rate} trades/s: {len(came)} trades, latency median {shares[49]:.0f} ms, p99 {shares[98]:.0f} ms,")
    print(f"  CPU {cpu_s / len(came) * 1e6:.0f} µs a trade, {cpu_s / seconds:.1%} of a core")


def timed(ask: Callable[[], Any]) -> float:
    """Return the median CPU time in seconds."""
    took = []
    for _ in range(ROUNDS):
        before_s = time.process_time()
        ask()
        took.append(time.process_time() - before_s)
    return statistics.median(took)


def history(data: Path, rows: int) -> None:
    """Follow and scan what is archived."""
    with recorder.connect(data) as archive, archive.follow(PAIR, after=0) as follower:
        cpu_s = time.process_time()
        for trade in follower:
            if trade.trade_id == rows:
                break
        print(f"history: CPU {(time.process_time() - cpu_s) / rows * 1e6:.1f} µs a trade, {rows} trades")
        files = sorted(map(str, Layout(data).trade_files(PAIR)))
        lazy = archive.scan(PAIR)
        start = datetime.fromtimestamp(START_US / 1e6, UTC) + timedelta(seconds=rows // 2)
        hour = pl.col("time").is_between(start, start + timedelta(hours=1))
        own = pl.scan_parquet(files, hive_partitioning=False)
        questions: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "all columns": (lazy.collect, own.collect),
            "two columns": (lazy.select("time", "price").collect, own.select("time", "price").collect),
            "an hour": (lazy.filter(hour).collect, own.filter(hour).collect),
            "the sum of a column": (lazy.select(pl.col("qty").sum()).collect, own.select(pl.col("qty").sum()).collect),
        }
        for name, (ours, theirs) in questions.items():
            print(f"scan, {name}: ours {timed(ours) * 1e3:.0f} ms, polars' own {timed(theirs) * 1e3:.0f} ms of CPU")


def main() -> int:
    """Measure in a new archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recorder-") as folder:
        data = Path(folder) / "data"
        layout = Layout(data)
        create(layout, Disk())
        with locks.staging(layout, Disk()) as staging:
            archive = TradeArchive(layout, Disk(), staging=staging)
            for first in range(1, asked.rows, FILE_ROWS):
                archive.append(PAIR, trades(first, min(first + FILE_ROWS - 1, asked.rows)))
        history(data, asked.rows)
        live(data, asked.rows + 1, asked.rate, asked.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
