"""Import history files: how fast beside DuckDB's own COPY, in how much memory, and whether every row arrives.

Synthetic trades of several pairs, of which 60 % share their second with another and 10 % are not unique in second,
price and volume; in the newer layout, with ids, or the classic one without. First whole: ``recorder import`` of a ZIP
and of its unpacked text, and DuckDB's ``COPY`` of that text into zstd Parquet, each in a process of its own on the same
cores, in turns. Targets: at least 0.4 of its rows a second, at most 200 MB of memory, whatever the size. Then in
overlapping files, in another order at each call, while the import is killed; at the end the archive is compared with
the truth, row by row.

Run by hand: python -m benchmarks.history [--layout trades|classic] [--rows 20_000_000] [--kills 10] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recorder.archive.datasets import BULK_TRADES, TRADES, Branch, Dataset
from recorder.archive.layout import Layout

HEADER = b"Price,Volume,Timestamp,Type,Miscellaneous,Trade ID\n"
PAIRS = {"XBTUSD": ("BTC/USD", 0.6), "ETHUSD": ("ETH/USD", 0.3), "XDGEUR": ("DOGE/EUR", 0.1)}
"""Names of files → the pair, and its share of all rows."""
FILES = ((0.0, 0.45), (0.35, 0.8), (0.7, 1.0))
"""Parts of the trades of each pair that overlapping files have."""
START_US = 1_759_276_800_000_000
"""October 2025: the trades of a year and those of the next are stored in different files."""
LEAST_US = 40 * 86_400_000_000
"""The time that the trades of each pair take at least: files without ids are compared day by day, so those that overlap
must do so by more than a day."""
TARGET, TARGET_MB = 0.4, 200
PART_ROWS = 1_000_000
POLL_S = 0.02

Column: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]

COPY = """
import sys, duckdb
con = duckdb.connect()
con.execute("SET threads = 2")
header, columns = sys.argv[1:3]
for source, target in zip(sys.argv[3::2], sys.argv[4::2]):
    text = f"read_csv('{source}', header = false, skip = {header}, columns = {columns})"
    con.execute(f"COPY (FROM {text}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
"""


@dataclass(frozen=True)
class Truth:
    """The trades of a pair: ids are 1, 2, 3, …; prices in tenths, quantities in 1e-8."""

    time_us: Column
    price: Column
    qty: Column
    sells: Column
    market: Column

    @classmethod
    def made(cls, rows: int, seed: int) -> Truth:
        """Return ``rows`` invented trades."""
        dice = np.random.default_rng(seed)
        longest_us = max(3_000_000, LEAST_US * 3 // rows)
        apart = np.where(dice.random(rows) < 0.36, dice.integers(0, 20, rows), dice.integers(900_000, longest_us, rows))
        time_us = START_US + np.cumsum(apart)
        price = 900_000 + np.abs(np.cumsum(dice.integers(-3, 4, rows)))
        qty = dice.integers(1, 10 ** dice.integers(3, 11, rows))
        twins = 1 + np.flatnonzero(dice.random(rows - 1) < 0.055)
        for column in (time_us, price, qty):
            column[twins] = column[twins - 1]
        return cls(time_us, price, qty, dice.integers(0, 2, rows), dice.integers(0, 2, rows))

    def sharing(self) -> tuple[float, float]:
        """Return the shares of rows that share their second, and that are not unique in second, price and volume."""
        seconds = self.time_us // 1_000_000
        _, counts = np.unique(seconds, return_counts=True)
        keys = (seconds * 7_919 + self.price) * 1_000_003 + self.qty
        _, alike = np.unique(keys, return_counts=True)
        return float(counts[counts > 1].sum() / len(seconds)), float(alike[alike > 1].sum() / len(seconds))


class TradesLayout:
    """The newer layout, whose trades go into the table ``trades``."""

    header = HEADER
    columns = (
        "{'price': 'DECIMAL(28,12)', 'qty': 'DECIMAL(28,8)', 'time': 'DECIMAL(18,6)', 'side': 'VARCHAR', "
        "'ord_type': 'VARCHAR', 'misc': 'VARCHAR', 'trade_id': 'BIGINT'}"
    )
    dataset = TRADES

    def fields(self, made: Truth, part: slice) -> dict[str, pa.Array]:
        """Return the fields of these trades as they are printed."""
        return {
            "price": decimals(made.price[part], 1),
            "volume": decimals(made.qty[part], 8),
            "time": decimals(made.time_us[part], 6),
            "side": pa.array(["b", "s"]).take(pa.array(made.sells[part])),
            "type": pa.array(["l", "m"]).take(pa.array(made.market[part])),
            "misc": pa.repeat(pa.scalar(""), part.stop - part.start),
            "id": pa.array(np.arange(part.start + 1, part.stop + 1)),
        }

    def compare(self, made: Truth, stored: Iterable[pa.Table]) -> tuple[int, int, int]:
        """Return how many trades are lost, doubled and altered, each known by its id."""
        times, altered = np.zeros(len(made.price), np.int8), 0
        for rows in stored:
            at = rows["trade_id"].to_numpy() - 1
            np.add.at(times, at, 1)
            equal = (
                (rows["time"].cast(pa.int64()).to_numpy() == made.time_us[at])
                & (unscaled(rows["price"], 12) == made.price[at] * 10**11)
                & (unscaled(rows["qty"], 8) == made.qty[at])
                & (np.array(rows["side"].to_pylist()) == np.where(made.sells[at], "sell", "buy"))
                & (np.array(rows["ord_type"].to_pylist()) == np.where(made.market[at], "market", "limit"))
            )
            altered += int(np.sum(~equal))
        return int(np.sum(times == 0)), int(np.sum(times[times > 1] - 1)), altered


class ClassicLayout:
    """The older layout, whose trades go into the table ``bulk_trades``."""

    header = b""
    columns = "{'time': 'BIGINT', 'price': 'DECIMAL(28,12)', 'qty': 'DECIMAL(28,8)'}"
    dataset = BULK_TRADES

    def fields(self, made: Truth, part: slice) -> dict[str, pa.Array]:
        """Return the fields of these trades as they are printed."""
        return {
            "time": pa.array(made.time_us[part] // 1_000_000),
            "price": decimals(made.price[part], 1),
            "volume": decimals(made.qty[part], 8),
        }

    def compare(self, made: Truth, stored: Iterable[pa.Table]) -> tuple[int, int, int]:
        """Return how many trades are lost, doubled and altered, each known by its place in the order of all."""
        at = altered = 0
        for rows in stored:
            part = slice(at, min(at + rows.num_rows, len(made.price)))
            at += rows.num_rows
            count = part.stop - part.start if part.stop > part.start else 0
            equal = (
                (rows["time"].cast(pa.int64()).to_numpy()[:count] == made.time_us[part] // 1_000_000 * 1_000_000)
                & (unscaled(rows["price"], 12)[:count] == made.price[part] * 10**11)
                & (unscaled(rows["qty"], 8)[:count] == made.qty[part])
            )
            altered += int(np.sum(~equal))
        return max(0, len(made.price) - at), max(0, at - len(made.price)), altered


LAYOUTS: dict[str, TradesLayout | ClassicLayout] = {"trades": TradesLayout(), "classic": ClassicLayout()}


def write(layout: TradesLayout | ClassicLayout, made: Truth, path: Path, low: float = 0.0, high: float = 1.0) -> None:
    """Write a part of the trades as a member of history files."""
    first, last = (int(len(made.price) * share) for share in (low, high))
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(layout.header)
        for start in range(first, last, PART_ROWS):
            table = pa.table(layout.fields(made, slice(start, min(start + PART_ROWS, last))))
            pyarrow.csv.write_csv(table, file, options)


def decimals(unscaled: Column, scale: int) -> pa.Array:
    halves = np.zeros((len(unscaled), 2), np.int64)
    halves[:, 0] = unscaled
    return pa.Array.from_buffers(pa.decimal128(18, scale), len(unscaled), [None, pa.py_buffer(halves)])


def unscaled(column: pa.ChunkedArray, scale: int) -> Column:
    """Return decimals as integers of 1e-scale."""
    found = column.cast(pa.decimal128(28, scale)).combine_chunks()
    words = np.frombuffer(found.buffers()[1], np.int64)[::2]
    return words[found.offset : found.offset + len(found)]


def stored_files(data: Path, dataset: Dataset, pair: str) -> list[Path]:
    """Return the files of a pair, in the order of their names, and so of years and ids."""
    return sorted(Layout(data).files(Branch(dataset, pair)))


def stored_rows(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield the rows of files."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(PART_ROWS):
            yield pa.Table.from_batches([batch])


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end, which must be a success."""
    began, peak_mb = time.monotonic(), 0.0
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    while True:
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
        if found:
            break
        peak_mb = max(peak_mb, high_mb(process.pid))
        time.sleep(POLL_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, peak_mb)


def high_mb(pid: int) -> float:
    """Return the most memory that a process has had until now; ru_maxrss would include what its parent had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("VmHWM")), 0.0)


def import_command(data: Path, *paths: Path) -> list[str | Path]:
    names = [word for name, (pair, _) in PAIRS.items() for word in ("--as", f"{name}={pair}")]
    return [sys.executable, "-m", "recorder", "import", *paths, "--data", data, *names]


def measure(
    layout: TradesLayout | ClassicLayout, folder: Path, members: Sequence[Path], rounds: int, rows: int
) -> float:
    """Import whole files, and copy them with DuckDB, in turns; print the rows a second and the ratio.

    Return how long the fastest import of a ZIP took, in seconds.
    """
    zipped = folder / "Kraken_Trading_History_Q1_2026.zip"
    pack(zipped, members)
    costs: dict[str, list[Cost]] = {"COPY of the text": [], "import of the text": [], "import of the ZIP": []}
    for number in range(rounds):
        targets = [folder / f"{path.stem}.parquet" for path in members]
        words = [str(word) for both in zip(members, targets, strict=True) for word in both]
        header = str(len(layout.header.splitlines()))
        costs["COPY of the text"].append(run([sys.executable, "-c", COPY, header, layout.columns, *words]))
        for name, source in (("import of the text", members[0].parent), ("import of the ZIP", zipped)):
            data = folder / f"whole-{number}-{len(name)}"
            costs[name].append(run(import_command(data, source)))
            subprocess.run(["rm", "-rf", str(data)], check=True)
    fastest = {name: min(found, key=lambda one: one.wall_s) for name, found in costs.items()}
    least_cpu_s = {name: min(one.cpu_s for one in found) for name, found in costs.items()}
    copy, copy_cpu_s = fastest["COPY of the text"], least_cpu_s["COPY of the text"]
    print(f"{rows:,} rows, {sum(path.stat().st_size for path in members) / 1e6:,.0f} MB of text, best of {rounds}:")
    for name, cost in fastest.items():
        print(
            f"  {name:18}  {rows / cost.wall_s / 1e6:5.2f} M rows/s, {copy.wall_s / cost.wall_s:4.2f} of COPY; "
            f"CPU {least_cpu_s[name]:5.1f} s, {copy_cpu_s / least_cpu_s[name]:4.2f} of COPY; "
            f"peak {max(one.peak_mb for one in costs[name]):4.0f} MB"
        )
    print(f"  targets: {TARGET} of COPY, {TARGET_MB} MB", flush=True)
    return fastest["import of the ZIP"].wall_s


def pack(path: Path, members: Sequence[Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member in members:
            archive.write(member, member.name)


def killed(data: Path, zips: list[Path], kills: int, whole_s: float) -> Iterator[float]:
    """Import the ZIPs in another order each time and kill the import, then to the end; yield after what seconds."""
    dice, done = random.Random(1), 0
    while done < kills:
        dice.shuffle(zips)
        after_s = dice.uniform(0.1, 1.0) * whole_s
        with subprocess.Popen([str(word) for word in import_command(data, *zips)], stdout=subprocess.DEVNULL) as child:
            try:
                child.wait(after_s)
            except subprocess.TimeoutExpired:
                child.kill()
                done += 1
                yield after_s
            else:  # all is stored: from the beginning, with another order
                subprocess.run(["rm", "-rf", str(data)], check=True)
    dice.shuffle(zips)
    run(import_command(data, *zips))


def main() -> None:
    options: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--layout", choices=LAYOUTS, default="trades")
    options.add_argument("--rows", type=int, default=20_000_000)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path, help="where to work, some 100 bytes a row; a temporary one by default")
    given = options.parse_args()
    layout = LAYOUTS[given.layout]
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        truth = {
            altname: Truth.made(int(given.rows * share), seed)
            for seed, (altname, (_, share)) in enumerate(PAIRS.items(), 1)
        }
        for altname, made in truth.items():
            print("{}: {:.0%} share their second, {:.0%} are not unique".format(altname, *made.sharing()))
        text = folder / "text"
        text.mkdir()
        for altname, made in truth.items():
            write(layout, made, text / f"{altname}.csv")
        rows = sum(len(made.price) for made in truth.values())
        whole_s = measure(layout, folder, sorted(text.iterdir()), given.rounds, rows)
        zips = []
        for number, (low, high) in enumerate(FILES):
            for altname, made in truth.items():
                write(layout, made, text / f"{altname}.csv", low, high)
            zips.append(folder / f"Kraken_Trading_History_Q{number + 2}_2026.zip")
            pack(zips[-1], sorted(text.iterdir()))
        data = folder / "data"
        times = ", ".join(f"{after_s:.1f}" for after_s in killed(data, zips, given.kills, whole_s))
        files = {altname: stored_files(data, layout.dataset, pair) for altname, (pair, _) in PAIRS.items()}
        found = [layout.compare(made, stored_rows(files[altname])) for altname, made in truth.items()]
        lost, doubled, altered = (sum(counts) for counts in zip(*found, strict=True))
        print(f"overlapping files, killed after {times} s: {lost} lost, {doubled} doubled, {altered} altered")
        sizes = [path.stat().st_size for paths in files.values() for path in paths]
        print(f"{len(sizes)} files, {sum(sizes) / rows:.1f} bytes a row")
        assert (lost, doubled, altered) == (0, 0, 0)


if __name__ == "__main__":
    main()
