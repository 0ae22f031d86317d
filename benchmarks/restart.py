"""Measure how soon a recorder that was killed records again, with 3,000 files and 100 MB of journal behind it.

The target is 5 s (DESIGN 10), from starting the process to the first live trade in the journal and /ready saying yes.
Each round starts on a fresh copy, by a recorder in a process of its own beside a sandbox that makes 500 trades/s of
1,000 pairs; once more with a torn last line. The disk's cache is warm, as it is after a crash.

Run by hand: python -m benchmarks.restart [--pairs 1000] [--files 3] [--megabytes 100] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

from benchmarks.exchange import Exchange, Wanted, characters, cpu_s
from recorder.archive import locks
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.trades import TradeArchive
from recorder.core.model import Trade
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from tests.end_to_end.harness import Process

ROWS_EACH = 100
"""Rows of one file: what counts at a restart is the number of files."""
BEGAN_US = 1_780_000_000_000_000
RATE = 500.0
PATIENCE_S = 120.0
TARGET_S = 5.0
TORN = b'{"recv_ns":1780000000000000000,"source":"ws:trade:1","crc32":1,"payload":{"channel":"tra'


def build(data: Path, pairs: list[str], *, per_pair: int, size: int) -> int:
    """Build the archive and its journal; return the last id of every pair."""
    layout, disk, random = Layout(data), Disk(), Random(1)
    create(layout, disk)
    with locks.staging(layout, disk) as staging:
        archive = TradeArchive(layout, disk, staging=staging)
        for pair in pairs:
            for number in range(per_pair):
                ids = range(number * ROWS_EACH + 1, (number + 1) * ROWS_EACH + 1)
                price, qty = Decimal("1.2345"), Decimal("0.12345678")
                rows = [Trade(pair, n, BEGAN_US + n, price, qty, "buy", "limit", "", "ws", BEGAN_US) for n in ids]
                archive.append(pair, rows)
        journal = Journal(layout.data, disk, staging=staging, now_ns=BEGAN_US * 1000)
        last_id = per_pair * ROWS_EACH
        while journal.size < size:
            lines: list[bytes] = []
            count = random.choice([1, 1, 1, 2, 4])
            for pair in random.sample(pairs, len(pairs)):
                frame = frame_of(pair, range(last_id + 1, last_id + 1 + count))
                lines.append(segment.encode(BEGAN_US * 1000, "ws:trade:1", frame, parsed=True))
            last_id += count
            journal.append(lines)
        journal.close()
    return last_id


def frame_of(pair: str, ids: range) -> bytes:
    rows = ",".join(
        f'{{"symbol":"{pair}","side":"buy","price":1.2345,"qty":0.12345678,"ord_type":"limit","trade_id":{n},'
        f'"timestamp":"2026-05-28T20:26:40.{n:06d}Z"}}'
        for n in ids
    )
    return f'{{"channel":"trade","type":"update","data":[{rows}]}}'.encode()


def restart(exchange: Exchange, data: Path, folder: Path, last_id: int) -> dict[str, float]:
    """Start a recorder; return seconds until it asks, is ready, and has a live trade in its journal; and its CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    took: dict[str, float] = {}
    began_s = time.perf_counter()
    process = Process("run", "--data", str(data), cwd=folder, **exchange.environ(RECORDER_OPS__PORT=str(port)))
    try:
        asks: dict[str, Callable[[], bool]] = {
            "connected": lambda: "recording " in process.said,
            "ready": lambda: ready(port),
            "records": lambda: any(new > last_id for new in live_ids(data)),
        }
        while len(took) < len(asks):
            for name, ask in asks.items():
                if name not in took and ask():
                    took[name] = time.perf_counter() - began_s
            if not process.running or time.perf_counter() - began_s > PATIENCE_S:
                raise SystemExit(f"it does not record:\n{process.said}")
            time.sleep(0.01)
        took["CPU"] = cpu_s([process.pid])
    finally:
        process.close()
    return took


def ready(port: int) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1).status == 200)
    return False


def live_ids(data: Path) -> Iterator[int]:
    """Yield an id of each live trade frame in the open segment."""
    path = segment.segments(data / "journal")[-1]
    for line in path.read_bytes().split(b"\n"):
        if b'"ws:trade:' in line and b'"type":"update"' in line and b'"trade_id":' in line:
            yield int(line.split(b'"trade_id":')[1].split(b",")[0].rstrip(b"}]"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000)
    parser.add_argument("--files", type=int, default=3, help="of each pair")
    parser.add_argument("--megabytes", type=int, default=100, help="of journal")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    pairs = [one.pair.symbol for one in characters(asked.pairs)]
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        last_id = build(folder / "built", pairs, per_pair=asked.files, size=asked.megabytes * 1_000_000)
        # The snapshot of 50 on subscribing then leaves no hole.
        exchange = stack.enter_context(Exchange(Wanted(asked.pairs, RATE, last_id + 50)))
        built = list((folder / "built" / "trades").rglob("*-*.parquet"))
        size = sum(path.stat().st_size for path in (folder / "built" / "journal").iterdir())
        print(f"{len(built):,} files, {size / 1e6:.0f} MB of journal, {len(pairs):,} pairs, each with {last_id:,} ids")
        for variant in ("as killed", "torn line"):
            rounds = []
            for number in range(asked.rounds):
                data = folder / f"{variant}-{number}".replace(" ", "-")
                shutil.copytree(folder / "built", data)
                if variant == "torn line":
                    with segment.segments(data / "journal")[-1].open("ab") as file:
                        file.write(TORN)
                os.sync()  # a recorder's own files are on the disk, and its start does not wait for them
                rounds.append(restart(exchange, data, folder, last_id + 50))
                shutil.rmtree(data)
            for what in rounds[0]:
                times = [one[what] for one in rounds]
                shown = " ".join(f"{seconds:.2f}" for seconds in times)
                target = f"   (target {TARGET_S:.0f})" if what in {"ready", "records"} else ""
                print(f"{variant:10} {what:10} {statistics.median(times):6.2f} s   of {shown}{target}")


if __name__ == "__main__":
    main()
