"""What it costs to know that rows equal ids: footers read once, and stamps compared at each question.

Run by hand: python -m benchmarks.footers DATA, over an archive of some thousand files. Prints milliseconds, the least
of several runs: by the wall, and of the processor, which a busy machine changes less. ``kv`` is DuckDB's reader of the
same footers, without decoding what they say.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from recorder.archive.parquet import read_facts, stamp
from recorder.query.trade_files import TradeFiles

RUNS = 5
KV = "SELECT file_name, decode(value) FROM parquet_kv_metadata($files) WHERE key = 'recorder'::BLOB"


def least(of: Callable[[], Callable[[], object]]) -> str:
    """Time what ``of`` makes ready, anew for each run."""
    wall, processor = [], []
    for _ in range(RUNS):
        run = of()
        began, spent = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - spent)
    return f"wall {min(wall) * 1e3:5.0f}   processor {min(processor) * 1e3:5.0f}"


def main() -> None:
    """Measure."""
    data = Path(sys.argv[1])
    listing = TradeFiles(data)
    pairs = listing.pairs()
    paths = [path for pair in pairs for path in listing.paths(pair)]

    def fresh() -> Callable[[], object]:
        opened = TradeFiles(data)
        return lambda: opened.of(pairs)

    def again() -> Callable[[], object]:
        listing.of(pairs)
        return lambda: listing.of(pairs)

    def by_duckdb() -> object:
        return client.execute(KV, {"files": paths}).fetchall()

    client = duckdb.connect()
    print(f"{len(paths):,} files of {len(pairs):,} pairs")
    print(f"once: list, stamp, read and compare  {least(fresh)}")
    print(f"a call: list, stamp and compare      {least(again)}")
    print(f"  footers alone                      {least(lambda: lambda: [read_facts(Path(path)) for path in paths])}")
    print(
        f"  kv                                 {least(lambda: lambda: client.execute(KV, {'files': paths}).fetchall())}"
    )
    print(f"  stamps alone                       {least(lambda: lambda: [stamp(path) for path in paths])}")


if __name__ == "__main__":
    main()
