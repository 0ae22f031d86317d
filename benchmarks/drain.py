"""Measure how fast the journal reaches the archive, and how many bytes a trade takes there.

Targets (DESIGN 10): at least 500 k trades/s on two cores; at most 10 bytes a trade after compaction on real data,
12 with receive times. Run by hand: python -m benchmarks.drain [trades]
"""

from __future__ import annotations

import csv
import gzip
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec
import pyarrow.parquet as pq

from benchmarks.frames import frames
from recorder.archive import compaction, locks
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.model import Side, Trade
from recorder.disk import Disk
from recorder.ingest.drain import Drainer
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken.rest_api import PAGE_LIMIT
from recorder.ops import process_setup
from recorder.ops.metrics import Metrics

TRADES_EACH = 10
SEGMENT_TRADES = 200_000
REAL = Path(__file__).resolve().parents[2] / "shared/data/real"


def speed(trades: int) -> None:
    disk = Disk()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        layout = Layout(Path(folder))
        create(layout, disk)
        with locks.staging(layout, disk) as staging:
            journal = Journal(layout.data, disk, staging=staging, now_ns=1)
            for start in range(0, trades, SEGMENT_TRADES):
                count = min(SEGMENT_TRADES, trades - start) // TRADES_EACH
                lines = [
                    segment.encode(1_783_465_205_562_702_000 + index, "ws:trade:1", frame, parsed=True)
                    for index, frame in enumerate(frames(count, first_id=start + 1, seed=start))
                ]
                journal.append(lines)
                journal.rotate(2)
            archive = TradeArchive(layout, disk, staging=staging)
            drainer = Drainer(
                journal,
                archive,
                SegmentTables(layout, disk, staging=staging),
                keep_raw=True,
                latest_s=time.time,
                metrics=Metrics(),
            )
            started = time.perf_counter()
            added = sum(drainer.drain(path) for path in journal.closed())
            took = time.perf_counter() - started
            assert added == trades
            print(f"drain    {trades / took:12,.0f} trades/s   ({trades:,} trades in {took:.2f} s; target 500,000)")
            while compaction.compact(archive, "BTC/USD", today=date(2027, 1, 1)):
                pass
            report("synthetic, live", archive, "BTC/USD")
            journal.close()


def report(name: str, archive: TradeArchive, pair: str) -> None:
    held = archive.coverage.files(pair)
    rows, size = sum(file.rows for file in held), sum(file.size for file in held)
    per_column: dict[str, int] = {}
    for file in held:
        metadata = pq.read_metadata(file.path)
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                column = metadata.row_group(group).column(index)
                per_column[column.path_in_schema] = (
                    per_column.get(column.path_in_schema, 0) + column.total_compressed_size
                )
    shares = ", ".join(f"{column} {total / rows:.2f}" for column, total in per_column.items() if total / rows >= 0.01)
    print(f"{name:34} {size / rows:6.2f} bytes a trade in {len(held)} file(s) of {rows:,} rows: {shares}")


def real() -> Iterator[tuple[str, list[Trade]]]:
    with gzip.open(REAL / "trades_bulk/BTC_USDT_2023-11_with_ids.csv.gz", "rt") as file:
        yield (
            "BTC/USDT",
            [
                trade(
                    "BTC/USDT",
                    int(row["id"]),
                    int(row["timestamp_ms"]) * 1000,
                    side=row["side"],
                    price=row["price"],
                    qty=row["amount"],
                )
                for row in csv.DictReader(file)
            ],
        )
    with gzip.open(REAL / "trades_bulk/ETH_BTC_2020-02_raw_info.json.gz", "rt") as file:
        yield (
            "ETH/BTC",
            [
                trade(
                    "ETH/BTC",
                    index,
                    int(Decimal(str(row["info"][2])).scaleb(6)),
                    side=row["side"],
                    price=row["info"][0],
                    qty=row["info"][1],
                )
                for index, row in enumerate(json.load(file), 1)
            ],
        )
    page = json.loads((REAL / "rest/trades_XBTUSDT_2025-11-10.json").read_text(), parse_float=str)["result"]["XBTUSDT"]
    assert len(page) == PAGE_LIMIT
    yield (
        "BTC/USDT page",
        [
            trade(
                "BTC/USDT page",
                row[6],
                int(Decimal(row[2]).scaleb(6)),
                side={"b": "buy", "s": "sell"}[row[3]],
                price=row[0],
                qty=row[1],
            )
            for row in page
        ],
    )


def trade(pair: str, trade_id: int, time_us: int, *, side: str, price: str, qty: str) -> Trade:
    taker: Side = "buy" if side == "buy" else "sell"
    return Trade(pair, trade_id, time_us, Decimal(price), Decimal(qty), taker, "limit", "", "rest", None)


def bytes_per_trade() -> None:
    if not REAL.is_dir():
        print("bytes per trade: skipped, ../shared/data/real is not here")
        return
    disk, random = Disk(), Random(1)
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        create(layout, disk)
        with locks.staging(layout, disk) as staging:
            archive = TradeArchive(layout, disk, staging=staging)
            for pair, rows in real():
                for live in (False, True):
                    name = f"{pair}{' live' if live else ''}"
                    # A live feed's lag: some 30 ms, with a tail; rows of one time arrive in one frame.
                    lags = {row.time_us: int(random.lognormvariate(10.3, 0.4)) for row in rows}
                    made = [
                        msgspec.structs.replace(
                            row,
                            pair=name,
                            source="ws" if live else "rest",
                            received_us=row.time_us + lags[row.time_us] if live else None,
                        )
                        for row in rows
                    ]
                    for half in (made[: len(made) // 2], made[len(made) // 2 :]):
                        archive.append(name, half)
                    while compaction.compact(archive, name, today=date(2027, 1, 1)):
                        pass
                    report(name, archive, name)


def main() -> None:
    process_setup.prepare()  # as the daemon does
    speed(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
    bytes_per_trade()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
