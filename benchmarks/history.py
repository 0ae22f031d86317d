"""Import history files with ids: how fast beside DuckDB's own COPY, in how much memory, and whether every row arrives.

Synthetic trades of several pairs, of which 60 % share their second with another and 10 % are not unique in second,
price and volume. First whole: ``recorder import`` of a ZIP and of its unpacked text, and DuckDB's ``COPY`` of that text
into zstd Parquet, each in a process of its own on the same cores, in turns. Targets: at least 0.4 of its rows a second,
at most 200 MB of memory, whatever the size. Then in overlapping files, in another order at each call, while the import
is killed; at the end the archive is compared with the truth.

Run by hand: python -m benchmarks.history [--rows 20_000_000] [--kills 10] [--rounds 3]
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recorder.archive.layout import Layout

HEADER = b"Price,Volume,Timestamp,Type,Miscellaneous,Trade ID\n"
PAIRS = {"XBTUSD": ("BTC/USD", 0.6), "ETHUSD": ("ETH/USD", 0.3), "XDGEUR": ("DOGE/EUR", 0.1)}
"""Names of files → the pair, and its share of all rows."""
FILES = ((0.0, 0.45), (0.35, 0.8), (0.7, 1.0))
"""Parts of the trades of each pair that overlapping files have."""
START_US = 1_767_225_600_000_000
TARGET, TARGET_MB = 0.4, 200
PART_ROWS = 1_000_000
POLL_S = 0.02

Column: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]

COPY = """
import sys, duckdb
con = duckdb.connect()
con.execute("SET threads = 2")
columns = "{'price': 'DECIMAL(28,12)', 'qty': 'DECIMAL(28,8)', 'time': 'DECIMAL(18,6)', 'side': 'VARCHAR', "
columns += "'ord_type': 'VARCHAR', 'misc': 'VARCHAR', 'trade_id': 'BIGINT'}"
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    text = f"read_csv('{source}', header = false, skip = 1, columns = {columns})"
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
        apart = np.where(dice.random(rows) < 0.36, dice.integers(0, 20, rows), dice.integers(900_000, 3_000_000, rows))
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

    def write(self, path: Path, first: int, last: int) -> None:
        """Write the trades with ids from ``first`` up to ``last`` as a member of the newer layout."""
        with path.open("wb") as file:
            file.write(HEADER)
            for start in range(first - 1, last, PART_ROWS):
                part = slice(start, min(start + PART_ROWS, last))
                rows = part.stop - part.start
                table = pa.table(
                    {
                        "price": decimals(self.price[part], 1),
                        "volume": decimals(self.qty[part], 8),
                        "time": decimals(self.time_us[part], 6),
                        "side": pa.array(["b", "s"]).take(pa.array(self.sells[part])),
                        "type": pa.array(["l", "m"]).take(pa.array(self.market[part])),
                        "misc": pa.repeat(pa.scalar(""), rows),
                        "id": pa.array(np.arange(part.start + 1, part.stop + 1)),
                    }
                )
                options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
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


def compare(data: Path, truth: Mapping[str, Truth]) -> tuple[int, int, int]:
    """Return how many rows of the archive are lost, doubled and altered."""
    lost = doubled = altered = 0
    for name, made in truth.items():
        times = np.zeros(len(made.price), np.int8)
        for path in Layout(data).trade_files(PAIRS[name][0]):
            file = pq.ParquetFile(path)
            for batch in file.iter_batches(PART_ROWS):
                rows = pa.Table.from_batches([batch])
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
        lost += int(np.sum(times == 0))
        doubled += int(np.sum(times[times > 1] - 1))
    return lost, doubled, altered


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


def measure(folder: Path, members: Sequence[Path], rounds: int, rows: int) -> None:
    """Import whole files, and copy them with DuckDB, in turns; print the rows a second and the ratio."""
    zipped = folder / "Kraken_Trading_History_Q1_2026.zip"
    pack(zipped, members)
    costs: dict[str, list[Cost]] = {"COPY of the text": [], "import of the text": [], "import of the ZIP": []}
    for number in range(rounds):
        targets = [folder / f"{path.stem}.parquet" for path in members]
        words = [str(word) for both in zip(members, targets, strict=True) for word in both]
        costs["COPY of the text"].append(run([sys.executable, "-c", COPY, *words]))
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
    print(f"  targets: {TARGET} of COPY, {TARGET_MB} MB")


def pack(path: Path, members: Sequence[Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member in members:
            archive.write(member, member.name)


def killed(data: Path, zips: list[Path], kills: int, whole_s: float) -> Iterator[float]:
    """Import the ZIPs in another order each time and kill the import, then to the end; yield after what seconds."""
    dice = random.Random(1)
    for _ in range(kills):
        dice.shuffle(zips)
        after_s = dice.uniform(0.05, 1.0) * whole_s
        with subprocess.Popen([str(word) for word in import_command(data, *zips)], stdout=subprocess.DEVNULL) as child:
            try:
                child.wait(after_s)
            except subprocess.TimeoutExpired:
                child.kill()
        yield after_s
    dice.shuffle(zips)
    run(import_command(data, *zips))


def main() -> None:
    options: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=20_000_000)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path, help="where to work, some 100 bytes a row; a temporary one by default")
    given = options.parse_args()
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
            made.write(text / f"{altname}.csv", 1, len(made.price))
        rows = sum(len(made.price) for made in truth.values())
        began = time.monotonic()
        measure(folder, sorted(text.iterdir()), given.rounds, rows)
        whole_s = (time.monotonic() - began) / max(1, given.rounds) / 3
        zips = []
        for number, (low, high) in enumerate(FILES):
            for altname, made in truth.items():
                many = len(made.price)
                made.write(text / f"{altname}.csv", 1 + int(many * low), int(many * high))
            zips.append(folder / f"Kraken_Trading_History_Q{number + 2}_2026.zip")
            pack(zips[-1], sorted(text.iterdir()))
        data = folder / "data"
        times = ", ".join(f"{after_s:.1f}" for after_s in killed(data, zips, given.kills, whole_s / 2))
        lost, doubled, altered = compare(data, truth)
        print(f"overlapping files, killed after {times} s: {lost} lost, {doubled} doubled, {altered} altered")
        files = [path for pair, _ in PAIRS.values() for path in Layout(data).trade_files(pair)]
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / rows:.1f} bytes a row")
        assert (lost, doubled, altered) == (0, 0, 0)


if __name__ == "__main__":
    main()
