"""What a book costs: frames a second verified and journalled, beside bare parsing; the drain; bytes a row.

    python benchmarks/books.py CAPTURE DEPTH PAIR=PRICE_DIGITS.QTY_DIGITS ... [--times N]

CAPTURE has one frame of a real session on each line; others than those of books are left out. Its frames are played N
times, each time as a new connection. CPU time of one process, nothing else measured; the drain is the same code as the
recorder's, in one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import zstandard

from recorder.archive import locks
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BOOK, BOOKS_JOURNAL, BY_NAME, Branch
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.parquet import OpenFile
from recorder.archive.segment_tables import SegmentTables
from recorder.core.segment_names import SegmentName
from recorder.disk import Disk
from recorder.journal import segment
from recorder.kraken import records, wire
from recorder.kraken.book import Digits
from recorder.kraken.book_session import BookLine, BookSession
from recorder.kraken.channels import BOOKS
from recorder.kraken.quote_session import SessionNumbers

START_NS = 1_762_776_000 * 10**9
STEP_NS = 7_400_000
"""Between two frames, as in the capture of two pairs."""


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("capture", type=Path)
    parser.add_argument("depth", type=int)
    parser.add_argument("digits", nargs="+")
    parser.add_argument("--times", type=int, default=20)
    chosen = parser.parse_args()
    digits = {pair: Digits(*map(int, of.split("."))) for pair, _, of in (one.partition("=") for one in chosen.digits)}
    frames = [line for line in chosen.capture.read_bytes().splitlines() if line.startswith(BOOKS.prefix)]
    lines: list[bytes] = []
    numbers, parsed_s, received_s = SessionNumbers(), 0.0, 0.0
    for number in range(chosen.times):
        began = time.process_time()
        for frame in frames:
            wire.book_frame(frame)
        parsed_s += time.process_time() - began
        start_ns = START_NS + number * len(frames) * STEP_NS
        began = time.process_time()
        lines += received(frames, digits, chosen.depth, numbers, start_ns)
        received_s += time.process_time() - began
    count = len(frames) * chosen.times
    packed = len(zstandard.ZstdCompressor(level=3).compress(b"".join(lines)))
    drained_s, size, rows = drained(lines, list(digits))
    print(f"{len(frames)} frames, {chosen.times} times, all verified")
    print(f"bare parsing {count / parsed_s:,.0f} frames a second; verified and encoded {count / received_s:,.0f}")
    print(f"drain: {count / drained_s:,.0f} frames a second, {rows / drained_s:,.0f} rows a second")
    print(
        f"archive: {size / rows:.2f} bytes a row, {rows / count:.2f} rows a frame; raw/: {packed / count:.1f} a frame"
    )


if __name__ == "__main__":
    main()
