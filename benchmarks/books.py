"""What a book costs: frames a second verified and journalled, beside bare parsing; the drain; bytes a row; memory.

    python benchmarks/books.py CAPTURE DEPTH PAIR=PRICE_DIGITS.QTY_DIGITS ... [--times N]

CAPTURE has one frame of a real session on each line; others than those of books are left out. Its frames are played N
times, each time as a new connection, and journalled in group commits of 5 ms. CPU time of one process, nothing else
measured; the drain is the same code as the recorder's, in one thread. Memory is that of fifty books with 1,000 levels a
side, and of the drain of so many megabytes of the capture's journal lines, each in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import zstandard

from recorder.archive import locks
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BOOK, BOOKS_JOURNAL, BY_NAME, Branch
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.parquet import OpenFile
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.segment_names import SegmentName
from recorder.daemon import child_process
from recorder.disk import Disk
from recorder.ingest.drain import Drainer
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records, wire
from recorder.kraken.book import Book, Digits
from recorder.kraken.book_session import BookLine, BookSession
from recorder.kraken.channels import BOOKS
from recorder.kraken.quote_session import SessionNumbers
from recorder.ops import process_setup
from recorder.ops.metrics import Metrics

START_NS = 1_762_776_000 * 10**9
STEP_NS = 7_400_000
"""Between two frames, as in the capture of two pairs."""
COMMITTED = 300
"""Lines of a group commit: 60,000 a second for 5 ms."""
FIFTY = 50


def received(
    frames: Sequence[bytes], digits: Mapping[str, Digits], depth: int, numbers: SessionNumbers, start_ns: int
) -> Iterator[bytes]:
    """Yield the journal lines of one connection. Raises AssertionError if a frame does not verify."""
    channel = replace(BOOKS, params={"depth": depth})
    session = BookSession(digits, numbers, channel=channel, depth=depth, digits=digits.get)
    session.opened(0.0)
    at_ns = start_ns
    for frame in frames:
        at_ns += STEP_NS
        for effect in session.receive(frame, 0.0, received_ns=at_ns):
            assert isinstance(effect, BookLine), effect
            assert "mismatch" not in effect.place, effect
            at = effect.place
            source = records.checkpoint_source(at) if effect.is_checkpoint else records.book_source(1, at)
            yield segment.encode(effect.received_ns, source, effect.payload, parsed=True)


def journalled(lines: Sequence[bytes]) -> None:
    """Append lines to a journal on the disk, in group commits of as many as come at full speed in 5 ms."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), Disk(), staging=Path(folder), now_ns=START_NS, journal=BOOKS_JOURNAL)
        for first in range(0, len(lines), COMMITTED):
            journal.append(lines[first : first + COMMITTED])
        journal.close()


def drained(lines: Sequence[bytes], pairs: Sequence[str]) -> tuple[float, int, int]:
    """Archive the lines and merge the files; return CPU seconds of the drain, and bytes and rows in the archive."""
    with tempfile.TemporaryDirectory() as folder:
        layout, disk = Layout(Path(folder) / "data"), Disk()
        create(layout, disk)
        size = rows = 0
        with locks.staging(layout, disk) as staging:
            tables = SegmentTables(layout, disk, staging=staging, journal=BOOKS_JOURNAL)
            began = time.process_time()
            for line in lines:
                record = records.read(segment.decode(line[:-1]))
                assert isinstance(record, records.StreamedBook)
                for table, parts in record.tables().items():
                    for value, found in parts.items():
                        tables.add(Branch(BY_NAME[table], value), found)
            tables.write(SegmentName("", BOOKS_JOURNAL, 1))
            took_s = time.process_time() - began
            for pair in pairs:
                while compact_segments(tables.segments, Branch(BOOK, pair), today=date(9999, 1, 1)):
                    pass
                for path in layout.files(Branch(BOOK, pair)):
                    with OpenFile(path) as file:
                        size, rows = size + path.stat().st_size, rows + file.rows
    return took_s, size, rows


def books_memory() -> int:
    """Return how many bytes fifty books with 1,000 levels a side take."""
    digits = Digits(1, 8)
    prices = {
        "bids": [f"{60_000 - level}.5" for level in range(1_000)],
        "asks": [f"{60_001 + level}.5" for level in range(1_000)],
    }
    sides = {name: [(price.encode(), b"1.23456789") for price in found] for name, found in prices.items()}
    book = Book(1_000, digits)
    book.apply(sides["bids"], sides["asks"])
    listed = {name: [{"price": float(price), "qty": 1.23456789} for price in found] for name, found in prices.items()}
    pairs = [f"A{number}/USD" for number in range(50)]
    session = BookSession(
        pairs, SessionNumbers(), channel=replace(BOOKS, params={"depth": 1_000}), depth=1_000, digits=lambda _: digits
    )
    before = resident()
    for pair in pairs:
        row = {"symbol": pair, **listed, "checksum": book.checksum}
        frame = json.dumps({"channel": "book", "type": "snapshot", "data": [row]}, separators=(",", ":")).encode()
        (line,) = session.receive(frame, 0.0, received_ns=START_NS)
        assert isinstance(line, BookLine)
        assert "mismatch" not in line.place
    return resident() - before


def resident() -> int:
    """Return the memory of this process, without what it shares."""
    gc.collect()
    return child_process.resident_bytes(os.getpid()) or 0


def drain_memory(frames: Sequence[bytes], digits: Mapping[str, Digits], depth: int, megabytes: int) -> tuple[int, int]:
    """Journal so much of fifty pairs, and drain it; return bytes of memory before, and the most while draining."""
    process_setup.prepare()
    with tempfile.TemporaryDirectory() as folder:
        layout, disk = Layout(Path(folder) / "data"), Disk()
        create(layout, disk)
        with locks.staging(layout, disk) as staging:
            journal = Journal(layout.data, disk, staging=staging, now_ns=START_NS, journal=BOOKS_JOURNAL)
            numbers, names = SessionNumbers(), itertools.cycle(range(FIFTY // len(digits)))
            while journal.size < megabytes * 1_000_000:
                number = next(names)
                renamed = {pair: f"{chr(65 + number)}{pair[1:]}" for pair in digits}
                played = [_renamed(frame, renamed) for frame in frames]
                listed = {renamed[pair]: found for pair, found in digits.items()}
                journal.append(received(played, listed, depth, numbers, START_NS + journal.size * 1_000))
            journal.rotate(START_NS)
            tables = SegmentTables(layout, disk, staging=staging, journal=BOOKS_JOURNAL)
            archive = TradeArchive(layout, disk, staging=staging)
            drainer = Drainer(journal, archive, tables, keep_raw=True, latest_s=time.time, metrics=Metrics())
            before = most = resident()
            stop = threading.Event()

            def look() -> None:
                nonlocal most
                while not stop.wait(0.05):
                    most = max(most, child_process.resident_bytes(os.getpid()) or 0)

            looking = threading.Thread(target=look)
            looking.start()
            drainer.drain(*journal.closed())
            stop.set()
            looking.join()
            journal.close()
    return before, most


def _renamed(frame: bytes, names: Mapping[str, str]) -> bytes:
    for pair, name in names.items():
        frame = frame.replace(b'"symbol":"%b"' % pair.encode(), b'"symbol":"%b"' % name.encode())
    return frame


def apart(work: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 -- whatever it returns
    """Do something in a process of its own, whose memory nothing else has used."""
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        return processes.submit(work, *arguments).result()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("capture", type=Path)
    parser.add_argument("depth", type=int)
    parser.add_argument("digits", nargs="+")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[50, 200], help="of journal to drain")
    chosen = parser.parse_args()
    digits = {pair: Digits(*map(int, of.split("."))) for pair, _, of in (one.partition("=") for one in chosen.digits)}
    frames = [line for line in chosen.capture.read_bytes().splitlines() if line.startswith(BOOKS.prefix)]
    lines: list[bytes] = []
    numbers, parsed_s, received_s, journalled_s = SessionNumbers(), 0.0, 0.0, 0.0
    for number in range(chosen.times):
        began = time.process_time()
        for frame in frames:
            wire.book_frame(frame)
        parsed_s += time.process_time() - began
        start_ns = START_NS + number * len(frames) * STEP_NS
        began = time.process_time()
        made = list(received(frames, digits, chosen.depth, numbers, start_ns))
        received_s += time.process_time() - began
        began = time.process_time()
        journalled(made)
        journalled_s += time.process_time() - began
        lines += made
    count = len(frames) * chosen.times
    packed = len(zstandard.ZstdCompressor(level=3).compress(b"".join(lines)))
    drained_s, size, rows = drained(lines, list(digits))
    print(f"{len(frames)} frames, {chosen.times} times, all verified")
    print(
        f"bare parsing {count / parsed_s:,.0f} frames a second; verified and encoded {count / received_s:,.0f}; "
        f"verified and journalled {count / (received_s + journalled_s):,.0f}"
    )
    print(f"drain: {count / drained_s:,.0f} frames a second, {rows / drained_s:,.0f} rows a second")
    print(
        f"archive: {size / rows:.2f} bytes a row, {rows / count:.2f} rows a frame; raw/: {packed / count:.1f} a frame"
    )
    print(f"fifty books with 1,000 levels a side: {apart(books_memory) / 1e6:.0f} MB")
    for megabytes in chosen.megabytes:
        before, most = apart(drain_memory, frames, digits, chosen.depth, megabytes)
        print(f"drain of {megabytes:,} MB: {before / 1e6:.0f} MB of memory before, {most / 1e6:.0f} MB at most")


if __name__ == "__main__":
    main()
