"""What a quote costs: bytes a row in the archive and in raw/, and CPU a frame on receipt and in the drain.

    python benchmarks/quotes.py [FRAMES]

The frames are the sandbox's, of its busiest pair: their quantities are drawn anew at each change, so that they compress
worse than real ones. CPU time, one process, nothing else measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import zstandard

from recorder.archive import locks
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BY_NAME, MARKET_JOURNAL, QUOTES, Branch
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.parquet import OpenFile
from recorder.archive.segment_tables import SegmentTables
from recorder.core.segment_names import SegmentName
from recorder.disk import Disk
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.quote_session import NumberedRows, QuoteSession, SessionNumbers
from recorder.sandbox.book import MOVE_NS
from recorder.sandbox.market import Market
from recorder.sandbox.ticker_feed import TickerFeed

PAIR = "BTC/USD"
START_NS = 1_762_776_000 * 10**9


def frames(count: int) -> list[tuple[int, bytes]]:
    """Return frames of the ticker, each with the time at which it was received."""
    now = [START_NS]
    market = Market(start_ns=START_NS, rate=2.0, history=100)
    feed, tape = TickerFeed(lambda: now[0]), market.tapes[PAIR]
    made: list[tuple[int, bytes]] = [(START_NS, feed.snapshot(tape).encode())]
    list(feed.moved([tape]))
    while len(made) < count:
        now[0] += MOVE_NS // 4
        if any(new.pair == PAIR for new in market.advance(now[0])):
            made.append((now[0] + 40_000_000, feed.traded(tape)[0].encode()))
        made += [(now[0] + 40_000_000, text.encode()) for _, text in feed.moved([tape])]
    return made[:count]


def main() -> None:
    """Measure and print."""
    made = frames(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    session = QuoteSession([PAIR], SessionNumbers())
    session.opened(0.0)
    lines: list[bytes] = []
    began = time.process_time()
    for number, (at_ns, frame) in enumerate(made):
        for effect in session.receive(frame, float(number), received_ns=at_ns):
            if isinstance(effect, NumberedRows):
                source = records.numbered_source("ticker", 1, effect.numbers)
                lines.append(segment.encode(at_ns, source, effect.frame, parsed=True))
    received_s = time.process_time() - began
    packed = len(zstandard.ZstdCompressor(level=3).compress(b"".join(lines)))
    with tempfile.TemporaryDirectory() as folder:
        layout, disk = Layout(Path(folder) / "data"), Disk()
        create(layout, disk)
        with locks.staging(layout, disk) as staging:
            tables = SegmentTables(layout, disk, staging=staging, journal=MARKET_JOURNAL)
            began = time.process_time()
            for line in lines:
                record = records.read(segment.decode(line[:-1]))
                assert isinstance(record, records.StreamedQuotes)
                for table, parts in record.tables().items():
                    for value, rows in parts.items():
                        tables.add(Branch(BY_NAME[table], value), rows)
            tables.write(SegmentName("", MARKET_JOURNAL, 1))
            drained_s = time.process_time() - began
            while compact_segments(tables.segments, Branch(QUOTES, PAIR), today=date(9999, 1, 1)):
                pass
        (path,) = layout.files(Branch(QUOTES, PAIR))
        with OpenFile(path) as file:
            size, rows_held = path.stat().st_size, file.rows
    print(f"{len(made)} frames, {sum(len(frame) for _, frame in made) / len(made):.0f} bytes each")
    print(f"archive: {size / rows_held:.1f} bytes a row; raw/: {packed / len(made):.1f} bytes a frame")
    print(
        f"receipt: {received_s / len(made) * 1e6:.1f} µs a frame; drain: {drained_s / len(made) * 1e6:.1f} µs a frame"
    )


if __name__ == "__main__":
    main()
