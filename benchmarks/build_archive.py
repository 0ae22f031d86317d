"""Build a large archive to measure on: 20 M trades of many pairs over 24 months, and the same trades as plain Parquet.

Run by hand: python -m benchmarks.build_archive FOLDER [--trades N] [--files N]. Into FOLDER, which must not exist:

  data/           an archive as the recorder and its compaction leave it
  sorted.parquet  all rows in one file, sorted by pair and id, with exact decimals
  plain.parquet   the same as people export it: prices and quantities as doubles, pyarrow's defaults

data/ also has the one-minute candles of BTC/USD of 2024, as the exchange would have published them, and none lost.

The trades are those of the sandbox's market in kind (``recorder.sandbox.market``: its pairs, sweeps, ticks and
quantities), made by numpy, all trades of a pair at once. Seeded: the same arguments give the same rows.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recorder.archive import locks
from recorder.archive.datasets import INSTRUMENTS, Branch
from recorder.archive.footer import Footer, held_runs
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.parquet import MERGED_LEVEL, ROW_GROUP, write_stream, writer
from recorder.archive.schema import OHLC, PRICE, QTY, TIME, TRADES
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import MAX_ROWS
from recorder.core.model import PRICE_SCALE, QTY_SCALE, Instrument
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.disk import Disk
from recorder.query.connect import connect
from recorder.sandbox.market import CHARACTERS, REPEATED, SWEEP_SIZES, Character, character_of
from recorder.sandbox.pairs import pair_of

YEARS = (2024, 2025)
PUBLISHED = "BTC/USD"
"""The pair whose candles are published."""
THICK_FILES = 4
"""Files in a year of a pair that trades much, of which the first holds most rows: what compaction leaves."""
THIN_FILES = 3
THIN_SHARE = 0.02
"""Part of all trades that the thin pairs have together."""
EXPORT = pa.schema([pa.field("pair", pa.string()), *TRADES])

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """One pair, how many trades it has, and in how many files a year's are."""

    character: Character
    trades: int
    files: int


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--trades", type=int, default=20_000_000)
    arguments.add_argument("--files", type=int, default=3_000)
    given = arguments.parse_args()
    began = time.perf_counter()
    given.folder.mkdir(parents=True)
    wanted = chosen(given.trades, given.files)
    build(given.folder, wanted)
    found = list((given.folder / "data" / "trades").rglob("*.parquet"))
    publish(given.folder / "data")
    size = sum(path.stat().st_size for path in found)
    rows = sum(one.trades for one in wanted)
    print(
        f"{rows:,} trades of {len(wanted)} pairs in {len(found):,} files, {size / 1e6:,.0f} MB, "
        f"in {time.perf_counter() - began:.0f} s"
    )


def chosen(trades: int, wanted_files: int) -> list[Wanted]:
    """Return the sandbox's six pairs with nearly all trades, and so many thin ones that the files come out right."""
    whole = sum(character.weight for character in CHARACTERS)
    thick = [Wanted(one, max(1, int(trades * one.weight / whole)), THICK_FILES) for one in CHARACTERS]
    thin = max(0, wanted_files - len(thick) * THICK_FILES * len(YEARS)) // (THIN_FILES * len(YEARS))
    invented = [character_of(pair_of(f"T{number:03d}/USD", pair_decimals=2, lot_decimals=8)) for number in range(thin)]
    each = max(THIN_FILES * len(YEARS), int(trades * THIN_SHARE / max(1, thin)))
    return sorted([*thick, *(Wanted(one, each, THIN_FILES) for one in invented)], key=_symbol)


def _symbol(wanted: Wanted) -> str:
    return wanted.character.pair.symbol


def build(folder: Path, wanted: list[Wanted]) -> None:
    layout, disk = Layout(folder / "data"), Disk()
    create(layout, disk)
    with locks.staging(layout, disk) as staging:
        tables = SegmentTables(layout, disk, staging=staging)
        tables.add(Branch(INSTRUMENTS), [(_start_us(YEARS[0]), instrument(one.character)) for one in wanted])
        tables.write(SegmentName("", MAIN_JOURNAL, 1))
    with exports(folder) as (exact, plain):
        for number, one in enumerate(wanted):
            pair = one.character.pair.symbol
            table = market(one.character, one.trades, seed=number)
            for year in YEARS:
                write(layout, pair, year, _within(table, year), one.files)
            named = table.add_column(
                0, EXPORT.field("pair"), pa.array([pair]).take(pa.array(np.zeros(len(table), int)))
            )
            exact.write_table(named, row_group_size=ROW_GROUP)
            plain.write_table(as_doubles(named))


@contextlib.contextmanager
def exports(folder: Path) -> Iterator[tuple[pq.ParquetWriter, pq.ParquetWriter]]:
    doubles = as_doubles(EXPORT.empty_table()).schema
    with (
        writer(str(folder / "sorted.parquet"), EXPORT, Footer("trades"), level=MERGED_LEVEL) as exact,
        pq.ParquetWriter(folder / "plain.parquet", doubles) as plain,
    ):
        yield exact, plain


def as_doubles(table: pa.Table) -> pa.Table:
    for name in ("price", "qty"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pc.cast(table[name], pa.float64()))
    return table


def instrument(character: Character) -> Instrument:
    fields = character.pair.fields
    return Instrument(
        pair=character.pair.symbol,
        key=character.pair.key,
        altname=str(fields["altname"]),
        wsname=str(fields["wsname"]),
        base=str(fields["base"]),
        quote=str(fields["quote"]),
        pair_decimals=character.pair.pair_decimals,
        lot_decimals=character.pair.lot_decimals,
        cost_decimals=int(fields["cost_decimals"]),
        tick_size=str(fields["tick_size"]),
        ordermin=str(fields["ordermin"]),
        costmin=str(fields["costmin"]),
        status="online",
    )


def market(character: Character, trades: int, *, seed: int) -> pa.Table:
    """Return trades of one pair from the first moment of YEARS to the last, ids from 1 on, sorted by them."""
    random = np.random.default_rng(seed)
    sizes = _sweeps(random, trades)
    sweep = np.repeat(np.arange(len(sizes)), sizes)[:trades]
    starts = np.cumsum(sizes) - sizes
    within = np.arange(trades) - starts[sweep]
    first_us, end_us = _start_us(YEARS[0]), _start_us(YEARS[-1] + 1)
    gaps = random.exponential(1.0, len(sizes) + 1)
    sweep_us = first_us + (np.cumsum(gaps)[:-1] / gaps.sum() * (end_us - first_us - 1_000)).astype(np.int64)
    times_us = np.maximum.accumulate(sweep_us[sweep] + within * 55 // 1_000)
    sells = random.random(len(sizes)) < 0.5
    takers = random.random(len(sizes)) < 0.6
    draw = random.random(trades)
    return pa.table(
        [
            pa.array(np.arange(1, trades + 1)),
            pa.array(times_us).cast(TIME),
            decimals(_prices(character, sells[sweep], draw), PRICE, PRICE_SCALE - character.pair.pair_decimals),
            decimals(_quantities(character, random, draw), QTY, QTY_SCALE - character.pair.lot_decimals),
            pa.array(["buy", "sell"]).take(pa.array(sells[sweep].astype(np.int8))),
            pa.array(["limit", "market"]).take(pa.array(takers[sweep].astype(np.int8))),
            pa.array([""]).take(pa.array(np.zeros(trades, np.int8))),
            pa.array(["ws"]).take(pa.array(np.zeros(trades, np.int8))),
            pa.array(times_us + random.integers(20_000, 80_000, trades)).cast(TIME),
        ],
        schema=TRADES,
    )


def _sweeps(random: np.random.Generator, trades: int) -> Integers:
    """Draw the number of fills of each taker order, as many orders as bring ``trades`` fills."""
    shares = np.array([share for share, _, _ in SWEEP_SIZES])
    lows, highs = (np.array([size[index] for size in SWEEP_SIZES]) for index in (1, 2))
    kind = random.choice(len(shares), size=trades, p=shares / shares.sum())
    sizes: Integers = random.integers(lows[kind], highs[kind] + 1)
    return sizes[: int(np.searchsorted(np.cumsum(sizes), trades)) + 1]


def _prices(character: Character, sells: npt.NDArray[np.bool_], draw: npt.NDArray[np.float64]) -> Integers:
    """Let a price walk by ticks, down with sells and up with buys, reflected at half and twice the first price."""
    step = np.where(draw > 0.6, np.where(sells, -1, 1), 0)
    low, width = character.price // 2, character.price + character.price // 2
    walked = np.mod(character.price - low + np.cumsum(step), 2 * width)
    prices: Integers = low + np.where(walked < width, walked, 2 * width - walked)
    return prices


def _quantities(character: Character, random: np.random.Generator, draw: npt.NDArray[np.float64]) -> Integers:
    drawn = random.integers(0, 1 << character.qty_bits, len(draw)) >> random.integers(
        0, character.spread_bits, len(draw)
    )
    fresh = draw > REPEATED
    fresh[0] = True
    quantities: Integers = (drawn + 1)[np.maximum.accumulate(np.where(fresh, np.arange(len(draw)), 0))]
    return np.where(draw < REPEATED / 4, character.lot, quantities)


def decimals(integers: Integers, kind: pa.DataType, zeros: int) -> pa.Array:
    """Return positive integers, followed by so many zeros, as decimals: low and high half of 128-bit numbers."""
    halves = np.zeros((len(integers), 2), np.uint64)
    low, high = integers.astype(np.uint64), np.zeros(len(integers), np.uint64)
    for _ in range(zeros):  # by ten, with what is carried out of the low half
        carried = (
            (low >> np.uint64(32)) * np.uint64(10) + ((low & np.uint64(0xFFFFFFFF)) * np.uint64(10) >> np.uint64(32))
        ) >> np.uint64(32)
        low, high = low * np.uint64(10), high * np.uint64(10) + carried
    halves[:, 0], halves[:, 1] = low, high
    return pa.Array.from_buffers(kind, len(integers), [None, pa.py_buffer(halves)])


def write(layout: Layout, pair: str, year: int, table: pa.Table, count: int) -> None:
    """Write a year in ``count`` files, each a quarter of the one before, as a compacted archive has them."""
    folder = layout.year_dir(pair, year)
    folder.mkdir(parents=True)
    start, left = 0, table.num_rows
    while left:
        count -= 1
        rows = min(left if count <= 0 else max(1, left - left // 4), MAX_ROWS)
        part = table.slice(start, rows)
        named = part["trade_id"][0].as_py(), part["trade_id"][-1].as_py()
        write_stream([part], TRADES, Footer("trades", pair, held_runs(part, pair)), folder, Disk(), named=named)
        start, left = start + rows, left - rows


def publish(data: Path) -> None:
    """Write the one-minute candles of the first year of PUBLISHED: those that the trades make."""
    year = YEARS[0]
    # The fields of an empty bar are the close before it, as of time_bars(), but for vwap, which is zero in both.
    text = """
        SELECT pair, time, open, high, low, close, vwap, volume::DECIMAL(28, 8) AS volume, count, 'rest' AS source,
            time_end AS seen
        FROM time_bars($pair, '1 minute', $start::TIMESTAMPTZ, $stop::TIMESTAMPTZ, filled := true)
        WHERE open IS NOT NULL
        ORDER BY time
    """
    with connect(data) as archive:
        ends: dict[str, Any] = {"start": f"{year}-01-01T00:00:00Z", "stop": f"{year + 1}-01-01T00:00:00Z"}
        rows = archive.sql(text, to="arrow", decimals=True, pair=PUBLISHED, **ends).cast(OHLC)
    folder = data / "ohlc" / "timeframe=1m" / f"year={year}"
    folder.mkdir(parents=True)
    footer = Footer("ohlc", segments=(SegmentName("", MAIN_JOURNAL, 2),))
    write_stream([rows], OHLC, footer, folder, Disk(), named=(2, 2))


def _within(table: pa.Table, year: int) -> pa.Table:
    times_us = table["time"].cast(pa.int64()).to_numpy()
    first, after = np.searchsorted(times_us, [_start_us(year), _start_us(year + 1)]).tolist()
    return table.slice(first, after - first)


def _start_us(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


if __name__ == "__main__":
    main()
