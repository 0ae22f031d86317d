"""Count the files that a day of recording writes, and those that are left, beside the bounds of DESIGN 10.

The drains and merges of 24 hours with the real code, on invented rows: long-tailed rates (the n-th pair trades 1/n of
the first), in sweeps as on a real exchange, three timeframes of candles, and events. Drains come when the daemon's do:
by the default of archive.drain_every, sooner when much waits. After each all merges are made that are worth it, as
upkeep would within minutes.

Above 100 pairs not every pair is simulated: ranks 1 to 10 each, then some for each stretch of ranks, multiplied by how
many stand in it. Nothing is synced: counts do not depend on it.

Run by hand: python -m benchmarks.files [--pairs 1000] [--rate 500] [--hours 24]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import exp
from pathlib import Path
from random import Random
from typing import BinaryIO

import pyarrow as pa

from recorder.archive import locks
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.datasets import EVENTS, OHLC, TRADES, Branch
from recorder.archive.event_rows import event
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.schema import events_table, ohlc_table
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.config import Config
from recorder.core.event_kinds import EventKind
from recorder.core.model import TIMEFRAMES, Candle, Trade
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.disk import Disk
from recorder.ingest.commit import enough
from recorder.ingest.trade_index import BATCH_TRADES
from recorder.ops import process_setup
from recorder.sandbox.market import SWEEP_SIZES

BOUNDS = {50: 15_000, 1_000: 80_000}
LIVE_EACH, LIVE_BYTES = 3, 64_000_000
BEGAN = datetime(2026, 6, 1, tzinfo=UTC)
NEXT_YEAR = date(BEGAN.year + 1, 1, 1)
BEGAN_US = int(BEGAN.timestamp()) * 1_000_000
MEAN_SWEEP = sum(share * (low + high) / 2 for share, low, high in SWEEP_SIZES)
SAMPLED_EACH = 4
NOTES_EACH = 5
"""Events of one drain: a quiet stream has few, a thousand in a bad minute; the files are as many."""


class Unsynced(Disk):
    """A disk that nobody waits for."""

    def sync(self, file: BinaryIO) -> None:
        """Do nothing."""

    def sync_dir(self, path: Path) -> None:
        """Do nothing."""


@dataclass
class Stretch:
    """Pairs of like rates: one of them is simulated for ``stands_for``."""

    rank: int
    stands_for: float


@dataclass
class Counted:
    """Files of one pair or table over the day."""

    appended: float = 0
    merged: float = 0
    live: float = 0
    size: float = 0
    most: float = 0
    settled: float = 0

    @property
    def written(self) -> float:
        """All that were written, however long they lived."""
        return self.appended + self.merged

    def add(self, other: Counted, times: float = 1) -> None:
        """Add ``times`` what another counted."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + times * value)


def stretches(pairs: int) -> list[Stretch]:
    if pairs <= 100:
        return [Stretch(rank, 1) for rank in range(1, pairs + 1)]
    found = [Stretch(rank, 1) for rank in range(1, 11)]
    first = 11
    while first <= pairs:
        after = min(pairs + 1, int(first * 1.6))
        step = max(1, (after - first) // SAMPLED_EACH)
        ranks = range(first, after, step)
        found += [Stretch(rank, (after - first) / len(ranks)) for rank in ranks]
        first = after
    return found


def poisson(random: Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(random.gauss(mean, mean**0.5)))
    count, left = -1, 1.0
    while left > exp(-mean):
        left *= random.random()
        count += 1
    return count


def trades(
    random: Random, pair: str, first_id: int, *, count: int, from_us: int, lasts_us: int
) -> Iterator[list[Trade]]:
    """Yield them in the parts in which a drain appends them."""
    prices = [Decimal(random.randint(10_000, 20_000)).scaleb(-1) for _ in range(64)]
    qtys = [Decimal(random.randint(1, 10**9)).scaleb(-8) for _ in range(64)]
    for start in range(0, count, BATCH_TRADES):
        yield [
            Trade(
                pair, first_id + n, from_us + lasts_us * n // count, prices[n * 7 % 64], qtys[n * 5 % 64],
                "buy" if n % 3 else "sell", "limit", "", "ws", from_us + lasts_us * n // count + 30_000,
            )
            for n in range(start, min(count, start + BATCH_TRADES))
        ]  # fmt: skip


def merge_all(archive: TradeArchive, pair: str, *, today: date) -> int:
    count = 0
    while compact(archive, pair, today=today) is not None:
        count += 1
    return count


def of_pair(archive: TradeArchive, stretch: Stretch, *, per_s: float, every_s: float, hours: float) -> Counted:
    pair, counted, random = f"P{stretch.rank}/USD", Counted(), Random(stretch.rank)
    next_id = 1
    for drain in range(int(hours * 3600 / every_s)):
        count = round(poisson(random, per_s / MEAN_SWEEP * every_s) * MEAN_SWEEP)
        from_us = BEGAN_US + int(drain * every_s * 1e6)
        for part in trades(random, pair, next_id, count=count, from_us=from_us, lasts_us=int(every_s * 1e6)):
            archive.append(pair, part)
            counted.appended += 1
        next_id += count
        counted.merged += merge_all(archive, pair, today=BEGAN.date())
        counted.most = max(counted.most, len(archive.coverage.files(pair)))
    held = archive.coverage.files(pair)
    counted.live, counted.size = len(held), sum(file.size for file in held)
    merge_all(archive, pair, today=NEXT_YEAR)
    counted.settled = len(archive.coverage.files(pair))
    return counted


def of_table(segments: Segments, branch: Branch, rows: pa.Table, drains: int) -> Counted:
    """Count a table without ids: a file a drain."""
    counted = Counted()
    for drain in range(drains):
        counted.appended += segments.append(branch, rows, segment=SegmentName("", MAIN_JOURNAL, drain + 1)) > 0
        while compact_segments(segments, branch, today=BEGAN.date(), drained_to={MAIN_JOURNAL: drain + 1}) is not None:
            counted.merged += 1
        with segments.locked(branch):
            counted.most = max(counted.most, len(segments.files(branch)))
    with segments.locked(branch):
        held = segments.files(branch)
    counted.live, counted.size = len(held), sum(file.size for file in held)
    while compact_segments(segments, branch, today=NEXT_YEAR, drained_to={MAIN_JOURNAL: drains}) is not None:
        pass
    with segments.locked(branch):
        counted.settled = len(segments.files(branch))
    return counted


def candles(pairs: int, timeframe: str, every_s: float) -> pa.Table:
    """Return the rows of one drain; of timeframes longer than that, those of the pairs that are through by then."""
    step_us = TIMEFRAMES[timeframe] * 60_000_000
    count = max(1, int(pairs * every_s * 1e6 / step_us))
    one = Decimal(1)
    names = ((f"P{n % pairs}/USD", BEGAN_US + n // pairs * step_us) for n in range(count))
    rows = [Candle(pair, timeframe, time_us, one, one, one, one, one, one, 1) for pair, time_us in names]
    return ohlc_table([(BEGAN_US, row) for row in rows])


def show(name: str, counted: Counted) -> None:
    print(
        f"{name:12} {counted.written:10,.0f} written ({counted.appended:,.0f} by drains, {counted.merged:,.0f} by "
        f"merges), {counted.live:,.0f} live at the end, {counted.settled:,.0f} when the year is over"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=500.0, help="trades a second, of all pairs together")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--every", type=float, help="seconds between drains; else the default")
    asked = parser.parse_args()
    process_setup.prepare()
    pairs, first_per_s = asked.pairs, asked.rate / sum(1 / rank for rank in range(1, asked.pairs + 1))
    every_s = asked.every or Config().drain_every_s(pairs)
    every_s = min(every_s, enough(pairs) / asked.rate)
    drains, chosen = int(asked.hours * 3600 / every_s), stretches(pairs)
    print(f"{pairs:,} pairs, {asked.rate:,.0f} trades/s, a drain every {every_s:.0f} s, {asked.hours:g} h")
    print(f"{len(chosen)} pairs are simulated for {sum(one.stands_for for one in chosen):,.0f}")
    whole, disk, began_s = Counted(), Unsynced(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        create(layout, disk)
        with locks.staging(layout, disk) as staging:
            archive, of_trades = TradeArchive(layout, disk, staging=staging), Counted()
            for one in chosen:
                counted = of_pair(archive, one, per_s=first_per_s / one.rank, every_s=every_s, hours=asked.hours)
                of_trades.add(counted, one.stands_for)
                print(
                    f"  rank {one.rank:4} for {one.stands_for:5.1f}: {counted.appended:5.0f} by drains, "
                    f"{counted.merged:4.0f} by merges, {counted.live:3.0f} live, {counted.most:3.0f} at most"
                )
            show(TRADES.name, of_trades)
            whole.add(of_trades)
            segments = Segments(layout, disk, staging=staging)
            tables = {Branch(OHLC, name): candles(pairs, name, every_s) for name in Config().ohlc.timeframes}
            notes = [event(BEGAN_US + n, EventKind.CONNECTED) for n in range(NOTES_EACH)]
            tables[Branch(EVENTS)] = events_table(notes)
            for branch, rows in tables.items():
                counted = of_table(segments, branch, rows, drains)
                show(branch.name, counted)
                whole.add(counted)
    show("all", whole)
    if pairs in BOUNDS and asked.hours == 24:
        print(f"written      {whole.written:10,.0f}, bound {BOUNDS[pairs]:,}")
    bound = LIVE_EACH * pairs + of_trades.size / LIVE_BYTES
    print(f"live, trades {of_trades.live:10,.0f}, {of_trades.settled:,.0f} when the year is over, bound {bound:,.0f}")
    print(f"in {time.process_time() - began_s:.0f} s of CPU")


if __name__ == "__main__":
    main()
