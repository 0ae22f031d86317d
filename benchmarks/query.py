"""Ask a large archive what people ask, beside raw DuckDB, pandas and polars on one sorted file each, in one run.

Run by hand: python -m benchmarks.query FOLDER [--rounds N], on a FOLDER of python -m benchmarks.build_archive.
The answers are held against each other, then timed in turns, in one process; the best of each counts. Raw DuckDB reads
sorted.parquet with the same exact columns; pandas and polars read plain.parquet, with doubles. Of ours, the first
number is an Arrow table with exact decimals, like raw DuckDB's, and the second is a pandas frame. In the look-up the
first asks pair_trades() and the second the view trades, which binds the files of all pairs.
Targets (DESIGN 10): candles at 1.25 times raw DuckDB, and 0.5 more for a vwap that is exact; one pair's query at most
20 ms over it; connect() at most 100 ms; nothing slower than pandas.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl

from recorder.query.connect import Archive, connect

PAIR = "BTC/USD"
DAY = ("2024-06-01", "2024-06-02")
MONTH = ("2024-06-01", "2024-07-01")
YEAR = ("2024-01-01", "2025-01-01")
TRADE_ID = 1_234_567
COLD_RUNS = 5
BARS = """
    time_bucket(INTERVAL 1 {width}, time) AS time, arg_min(price, trade_id) AS open, max(price) AS high,
    min(price) AS low, arg_max(price, trade_id) AS close, sum(price * qty) / sum(qty) AS vwap, sum(qty) AS volume,
    count(*) AS count
"""
RAW_TRADES = "FROM read_parquet($file) WHERE pair = $pair AND {where} ORDER BY trade_id"
OTHER = "ETH/USD"
RAW_RANGE = "time >= $start::TIMESTAMPTZ AND time < $stop::TIMESTAMPTZ"

ASOF = """
    SELECT a.trade_id, a.qty, b.price
    FROM ({left}) AS a ASOF JOIN ({right}) AS b ON a.time >= b.time
    ORDER BY a.trade_id
"""

Answer = Callable[[], Any]


@dataclass(frozen=True)
class Question:
    """One question and who answers it: by name, each a call that returns a frame."""

    name: str
    target: str
    answers: dict[str, Answer]


class Rivals:
    """The same trades without us: one file each, sorted by pair and id."""

    def __init__(self, folder: Path) -> None:
        self.sorted, self.plain = str(folder / "sorted.parquet"), folder / "plain.parquet"
        self.client = duckdb.connect()
        self.client.execute("SET TimeZone='UTC'")

    def duckdb(self, text: str, **params: object) -> Any:  # noqa: ANN401 -- pyarrow ships no types
        """Return what SQL makes of the sorted file."""
        return self.client.sql(text, params={"file": self.sorted, **params}).to_arrow_table()

    def duckdb_candles(self, span: tuple[str, str]) -> Any:  # noqa: ANN401 -- likewise
        """Return 1-minute candles, as exactly as DuckDB's own arithmetic is."""
        bars = BARS.format(width="MINUTE")
        where = f"pair = $pair AND {RAW_RANGE}"
        by = "time_bucket(INTERVAL 1 MINUTE, time)"
        text = f"SELECT {bars} FROM read_parquet($file) WHERE {where} GROUP BY {by} ORDER BY 1"
        return self.duckdb(text, pair=PAIR, start=span[0], stop=span[1])

    def duckdb_asof(self, span: tuple[str, str]) -> Any:  # noqa: ANN401 -- likewise
        """Return the trades of one pair, each with the last price of the other."""
        side = f"FROM read_parquet($file) WHERE pair = {{}} AND {RAW_RANGE}".format
        text = ASOF.format(left=side("$other"), right=side("$pair"))
        return self.duckdb(text, pair=PAIR, other=OTHER, start=span[0], stop=span[1])

    def pandas(self, *filters: tuple[str, str, object], pair: str = PAIR) -> pd.DataFrame:
        """Return the pair's rows that pass the filters."""
        return pd.read_parquet(self.plain, filters=[("pair", "==", pair), *filters])

    def pandas_between(self, span: tuple[str, str], pair: str = PAIR) -> pd.DataFrame:
        """Return the pair's rows of a range of time."""
        start, stop = (pd.Timestamp(end, tz="UTC") for end in span)
        return self.pandas(("time", ">=", start), ("time", "<", stop), pair=pair)

    def polars_between(self, span: tuple[str, str], pair: str = PAIR) -> pl.LazyFrame:
        """Return the same, lazily."""
        start, stop = (pd.Timestamp(end, tz="UTC").to_pydatetime() for end in span)
        inside = (pl.col("pair") == pair) & (pl.col("time") >= start) & (pl.col("time") < stop)
        return pl.scan_parquet(self.plain).filter(inside)


def pandas_candles(trades: pd.DataFrame, keys: list[Any]) -> pd.DataFrame:
    trades["amount"] = trades["price"] * trades["qty"]
    bars: pd.DataFrame = trades.groupby(keys, observed=True).agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        amount=("amount", "sum"),
        volume=("qty", "sum"),
        count=("price", "size"),
    )
    bars["vwap"] = bars.pop("amount") / bars["volume"]
    return bars.reset_index()


def polars_candles(trades: pl.LazyFrame, width: str, by: str | None) -> pl.DataFrame:
    price, qty = pl.col("price"), pl.col("qty")
    return (
        trades.group_by_dynamic("time", every=width, group_by=by)
        .agg(
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            ((price * qty).sum() / qty.sum()).alias("vwap"),
            qty.sum().alias("volume"),
            pl.len().alias("count"),
        )
        .collect()
    )


def questions(archive: Archive, rivals: Rivals) -> list[Question]:
    found = [
        Question(
            "one day of one pair",
            "+20 ms",
            {
                "ours": lambda: archive.trades(PAIR, *DAY, to="arrow", decimals=True),
                "ours, pandas": lambda: archive.trades(PAIR, *DAY),
                "raw DuckDB": lambda: rivals.duckdb(
                    RAW_TRADES.format(where=RAW_RANGE), pair=PAIR, start=DAY[0], stop=DAY[1]
                ),
                "pandas": lambda: rivals.pandas_between(DAY),
                "polars": lambda: rivals.polars_between(DAY).collect(),
            },
        )
    ]
    found += [
        Question(
            f"1-minute candles of {name}",
            "x1.75" if span == YEAR else "x1.75 or +20 ms",
            {
                "ours": lambda span=span: archive.candles(PAIR, "1m", *span, to="arrow", decimals=True),  # type: ignore[misc]
                "ours, pandas": lambda span=span: archive.candles(PAIR, "1m", *span),  # type: ignore[misc]
                "raw DuckDB": lambda span=span: rivals.duckdb_candles(span),  # type: ignore[misc]
                "pandas": lambda span=span: minutes(rivals.pandas_between(span)),  # type: ignore[misc]
                "polars": lambda span=span: polars_candles(rivals.polars_between(span), "1m", None),  # type: ignore[misc]
            },
        )
        for name, span in (("a month", MONTH), ("a year", YEAR))
    ]
    found.append(asof(archive, rivals))
    every = archive.pairs()
    bars = BARS.format(width="DAY")
    daily = (
        f"SELECT pair, {bars} FROM read_parquet($file) GROUP BY pair, time_bucket(INTERVAL 1 DAY, time) ORDER BY 1, 2"
    )
    found += [
        Question(
            "daily candles of all pairs",
            "x1.75",
            {
                "ours": lambda: archive.candles(every, "1d", to="arrow", decimals=True),
                "ours, pandas": lambda: archive.candles(every, "1d"),
                "raw DuckDB": lambda: rivals.duckdb(daily),
                "pandas": lambda: days(pd.read_parquet(rivals.plain, columns=["pair", "time", "price", "qty"])),
                "polars": lambda: polars_candles(pl.scan_parquet(rivals.plain), "1d", "pair"),
            },
        ),
        Question(
            "look-up by trade id",
            "+20 ms",
            {
                "ours": lambda: archive.sql(
                    "FROM pair_trades($pair) WHERE trade_id = $id", pair=PAIR, id=TRADE_ID, to="arrow", decimals=True
                ),
                "ours, pandas": lambda: archive.sql(
                    "FROM trades WHERE pair = $pair AND trade_id = $id", pair=PAIR, id=TRADE_ID
                ),
                "raw DuckDB": lambda: rivals.duckdb(RAW_TRADES.format(where="trade_id = $id"), pair=PAIR, id=TRADE_ID),
                "pandas": lambda: rivals.pandas(("trade_id", "==", TRADE_ID)),
                "polars": lambda: (
                    pl.scan_parquet(rivals.plain)
                    .filter((pl.col("pair") == PAIR) & (pl.col("trade_id") == TRADE_ID))
                    .collect()
                ),
            },
        ),
    ]
    return found


def asof(archive: Archive, rivals: Rivals) -> Question:
    params: dict[str, Any] = {"pair": PAIR, "other": OTHER, "start": MONTH[0], "stop": MONTH[1]}
    side = "FROM pair_trades({}, $start, $stop)".format
    ours = ASOF.format(left=side("$other"), right=side("$pair"))
    view = f"FROM trades WHERE pair = {{}} AND {RAW_RANGE}".format
    through_view = ASOF.format(left=view("$other"), right=view("$pair"))
    price = ["time", "price"]
    return Question(
        "ASOF join of two pairs, a month",
        "x1.5",
        {
            "ours": lambda: archive.sql(ours, to="arrow", decimals=True, **params),
            "ours, pandas": lambda: archive.sql(through_view, **params),
            "raw DuckDB": lambda: rivals.duckdb_asof(MONTH),
            "pandas": lambda: pd.merge_asof(
                rivals.pandas_between(MONTH, OTHER).drop(columns="price").sort_values("time"),
                rivals.pandas_between(MONTH)[price].sort_values("time"),
                on="time",
            ).dropna(subset="price"),
            "polars": lambda: (
                rivals.polars_between(MONTH, OTHER)
                .drop("price")
                .sort("time")
                .join_asof(rivals.polars_between(MONTH).select(price).sort("time"), on="time")
                .drop_nulls("price")
                .collect()
            ),
        },
    )


def minutes(trades: pd.DataFrame) -> pd.DataFrame:
    return pandas_candles(trades, [trades["time"].dt.floor("1min")])


def days(trades: pd.DataFrame) -> pd.DataFrame:
    return pandas_candles(trades, [trades["pair"], trades["time"].dt.floor("1D")])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--rounds", type=int, default=7)
    given = arguments.parse_args()
    data = given.folder / "data"
    counted = len(list(data.glob("trades/*/*/*.parquet")))
    with connect(data) as archive:
        rows = archive.sql("SELECT sum(rows)::BIGINT AS n FROM coverage", to="arrow")["n"][0].as_py()
        print(f"{rows:,} trades of {len(archive.pairs())} pairs in {counted:,} files; best of {given.rounds}, ms\n")
        asked = questions(archive, Rivals(given.folder))
        print(f"{'':32}" + "".join(f"{name:>14}" for name in asked[0].answers) + f"{'to raw':>16}{'target':>17}")
        for question in asked:
            check(question)
            report(question, timed(question, given.rounds))
    opened(data)


def check(question: Question) -> None:
    """Stop where two answers have not the same rows, or not the same volume."""
    told = set()
    for answer in question.answers.values():
        found = answer()
        frame = found.to_pandas() if not isinstance(found, pd.DataFrame) else found
        quantity = frame["volume" if "volume" in frame else "qty"].astype(float).sum()
        told.add((len(frame), f"{quantity:.9e}"))
    if len(told) > 1:
        raise SystemExit(f"{question.name}: the answers differ: {told}")


def timed(question: Question, rounds: int) -> dict[str, float]:
    """Return the best time of each in ms; in turns, so that a busy machine is busy for all."""
    best = dict.fromkeys(question.answers, math.inf)
    for _ in range(rounds):
        for name, answer in question.answers.items():
            began = time.perf_counter()
            answer()
            best[name] = min(best[name], (time.perf_counter() - began) * 1000)
    return best


def report(question: Question, best: dict[str, float]) -> None:
    raw, ours = best["raw DuckDB"], best["ours"]
    slower = " SLOWER THAN PANDAS" if best["ours, pandas"] > best["pandas"] else ""
    print(
        f"{question.name:32}"
        + "".join(f"{took:14.1f}" for took in best.values())
        + f"{f'x{ours / raw:.2f}, {ours - raw:+.0f} ms':>16}{question.target:>17}{slower}"
    )


def opened(data: Path) -> None:
    """Print how long it takes to open the archive, here and in processes that know nothing yet."""
    warm = []
    for _ in range(COLD_RUNS):
        began = time.perf_counter()
        connect(data).close()
        warm.append((time.perf_counter() - began) * 1000)
    print(f"\nconnect() after imports             {min(warm):8.1f} ms (target 100)")
    for name, then in (
        ("connect(), cold process", ""),
        ("and the first question, as Arrow", f".trades('{PAIR}', '{DAY[0]}', '{DAY[1]}', to='arrow')"),
        ("and the first question, as pandas", f".trades('{PAIR}', '{DAY[0]}', '{DAY[1]}')"),
    ):
        took = []
        for _ in range(COLD_RUNS):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", f"import recorder; recorder.connect({str(data)!r}){then}"], check=True
            )
            took.append((time.perf_counter() - began) * 1000)
        print(f"{name:35} {statistics.median(took):8.1f} ms")


if __name__ == "__main__":
    main()
