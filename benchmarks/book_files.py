"""Count the files that a day of books writes, and measure how soon a recorder with very many of them records again.

A day of drains and upkeep with the real code, on a few invented rows for each pair, after a day that is to be merged:
50 pairs may write 2,500 files. Then a start beside a sandbox, in a process of its own, on an archive with 100,000 files
of books, all of dates that are over: it may take 5 s. Nothing is synced while the archives are built.

Run by hand: python -m benchmarks.book_files [--pairs 50] [--files 100000] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from benchmarks.exchange import Exchange, Wanted, cpu_s
from benchmarks.files import Unsynced
from recorder.archive import locks
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BOOK, BOOK_EVENTS, BOOK_SESSIONS, BOOKS_JOURNAL, Branch
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import SegmentTables
from recorder.core.event_kinds import EventKind
from recorder.core.model import BookPart, BookRow, Event
from recorder.core.segment_names import SegmentName
from recorder.market import BOOKS_DRAIN_S
from tests.end_to_end.harness import Process

BEGAN = date(2026, 6, 1)
BEGAN_US = 1_780_272_000_000_000
DAY_S = 86_400
MOST_FILES, MOST_S = 2_500, 5.0
PATIENCE_S = 120.0


def drain(tables: SegmentTables, pairs: list[str], at_us: int, number: int) -> None:
    """Archive a message of each pair, and an event, as a drained segment brings them."""
    tables.begin()
    for pair in pairs:
        tables.add(Branch(BOOK, pair), [BookRow(pair, at_us, at_us, 7, number, 0, "checkpoint", "bid", "1", "1", 7)])
        part = BookPart(pair, 7, number, number, 1, 1, 0, at_us, at_us, 10, 1, 8, None, None, at_us)
        tables.add(Branch(BOOK_SESSIONS), [part])
    tables.add(Branch(BOOK_EVENTS), [Event(at_us, EventKind.CONNECTED, None, "{}")])
    tables.write(SegmentName("", BOOKS_JOURNAL, number))


def upkeep(tables: SegmentTables, pairs: list[str], today: date) -> None:
    """Make all merges that are worth it."""
    branches = [*(Branch(BOOK, pair) for pair in pairs), Branch(BOOK_SESSIONS), Branch(BOOK_EVENTS)]
    for branch in branches:
        while compact_segments(tables.segments, branch, today=today) is not None:
            pass


def a_day(folder: Path, pairs: list[str]) -> int:
    """Record two days; return how many files the second one wrote."""
    layout, disk = Layout(folder), Unsynced()
    create(layout, disk)
    drains, seen, written = int(DAY_S / BOOKS_DRAIN_S), set[str](), 0
    with locks.staging(layout, disk) as staging:
        tables = SegmentTables(layout, disk, staging=staging, journal=BOOKS_JOURNAL)
        for number in range(2 * drains):
            at_s = int((number + 0.5) * BOOKS_DRAIN_S)
            drain(tables, pairs, BEGAN_US + at_s * 1_000_000, number + 1)
            if number >= drains:
                now = {path.name for path in folder.rglob("*.parquet")}
                written, seen = written + len(now - seen), now
                upkeep(tables, pairs, BEGAN + timedelta(days=at_s // DAY_S))
            now = {path.name for path in folder.rglob("*.parquet")}
            written, seen = written + (len(now - seen) if number >= drains else 0), now
    return written


def with_files(folder: Path, pairs: list[str], count: int) -> int:
    """Make an archive with so many files of books, a few of each date; return how many."""
    layout, disk, made = Layout(folder), Unsynced(), 0
    create(layout, disk)
    with locks.staging(layout, disk) as staging:
        tables = SegmentTables(layout, disk, staging=staging, journal=BOOKS_JOURNAL)
        drain(tables, pairs, BEGAN_US, 1)
        for pair in pairs:
            (path,) = layout.files(Branch(BOOK, pair))
            for day in range(1, count // len(pairs)):
                leaf = path.parent.with_name(f"date={BEGAN - timedelta(days=day)}")
                leaf.mkdir()
                os.link(path, leaf / path.name)
                made += 1
    return made + len(pairs)


def start(data: Path, exchange: Exchange, folder: Path) -> tuple[float, float]:
    """Start a recorder; return seconds until it records books, and those of CPU, with the process that does."""
    began_s = time.perf_counter()
    environ = exchange.environ(RECORDER_BOOKS__PAIRS="*", RECORDER_EXCHANGE__REQUESTS_PER_SECOND="100")
    process = Process("run", "--data", str(data), cwd=folder, **environ)
    try:
        while "recording books" not in process.said:
            if not process.running or time.perf_counter() - began_s > PATIENCE_S:
                raise SystemExit(f"it does not record:\n{process.said}")
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return time.perf_counter() - began_s, cpu_s([process.pid, *map(int, children)])
    finally:
        process.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    pairs = [f"A{number}/USD" for number in range(given.pairs)]
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        print(f"{given.pairs} pairs write {a_day(folder / 'day', pairs):,} files a day (at most {MOST_FILES:,})")
        few, many = (with_files(folder / f"with-{count}", pairs, count) for count in (len(pairs), given.files))
        with Exchange(Wanted(6, 50.0, 50)) as exchange:
            for count in (few, many):
                rounds = [start(folder / f"with-{count}", exchange, folder) for _ in range(3)]
                shown = ", ".join(f"{took_s:.2f} ({of_cpu_s:.2f})" for took_s, of_cpu_s in rounds)
                print(f"with {count:,} files it records books after s (of CPU): {shown} (at most {MOST_S:.0f})")


if __name__ == "__main__":
    main()
