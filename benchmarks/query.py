"""Ask a large archive what people ask, beside raw DuckDB, pandas and polars on one sorted file each, in one run.

Run by hand: python -m benchmarks.query FOLDER [--rounds N], on a FOLDER of python -m benchmarks.build_archive.
The answers are held against each other, then timed in turns, in one process: CPU time, the median of the rounds. Raw
DuckDB reads sorted.parquet with the same exact columns and integer buckets; pandas and polars read plain.parquet, with
doubles. Of ours, the first number is an Arrow table with exact decimals, like raw DuckDB's, and the second is a pandas
frame. In the look-up the first asks pair_trades() and the second the view trades, which binds the files of all pairs.
"""

from __future__ import annotations

import argparse
import functools
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
MINUTE_US, DAY_US = 60_000_000, 86_400_000_000
BARS = """
    make_timestamptz(epoch_us(time) // {width} * {width}) AS time, arg_min(price, trade_id) AS open, max(price) AS high,
    min(price) AS low, arg_max(price, trade_id) AS close, sum(price * qty) / sum(qty) AS vwap, sum(qty) AS volume,
    count(*) AS count
"""
RAW_TRADES = "FROM read_parquet($file) WHERE pair = $pair AND {where} ORDER BY trade_id"
OTHER = "ETH/EUR"
RAW_RANGE = "time >= $start::TIMESTAMPTZ AND time < $stop::TIMESTAMPTZ"

ASOF = """
    SELECT a.trade_id, a.qty, b.price
    FROM ({left}) AS a ASOF JOIN ({right}) AS b ON a.time >= b.time
    ORDER BY a.trade_id
"""

NAMES = ("ours", "ours, pandas", "raw DuckDB", "pandas", "polars")
Answer = Callable[[], Any]


@dataclass(frozen=True)
class Question:
    """One question and who answers it: by name, each a call that returns a frame."""

    name: str
    target: str
    answers: dict[str, Answer]
    exact: bool = True
    """Whether all answer the same."""


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
        bars = BARS.format(width=MINUTE_US)
        where = f"pair = $pair AND {RAW_RANGE}"
        by = f"epoch_us(time) // {MINUTE_US}"
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
            "x1.4" if span == YEAR else "x1.4 or +20 ms",
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
    bars = BARS.format(width=DAY_US)
    daily = f"SELECT pair, {bars} FROM read_parquet($file) GROUP BY pair, epoch_us(time) // {DAY_US} ORDER BY 1, 2"
    found += [
        Question(
            "daily candles of all pairs",
            "x1.4",
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
    return [*found, *bars_of(archive, rivals), *published(archive, rivals), *proofs(archive, rivals)]


def bars_of(archive: Archive, rivals: Rivals) -> list[Question]:
    """Bars of every kind over a year, with the share that takers bought."""
    kinds = {
        "time_bars": (f"epoch_us(time) // {MINUTE_US}", "'1 minute'"),
        "tick_bars": ("(trade_id - 1) // 100", "100"),
        "volume_bars": ("floor((total - qty) / 10)", "10"),
        "dollar_bars": ("floor((total - price * qty) / 1000000)", "1000000"),
    }
    columns = BARS.split("AS time, ")[1] + ", coalesce(sum(qty) FILTER (side = 'buy'), 0) AS buy_volume"
    measures = {"volume_bars": "qty", "dollar_bars": "price * qty"}
    found = []
    for kind, (bucket, size) in kinds.items():
        measure = measures.get(kind)
        total = "" if measure is None else f", sum({measure}) OVER (ORDER BY trade_id) AS total"
        rows = f"SELECT *{total} FROM read_parquet($file) WHERE pair = $pair AND {RAW_RANGE}"
        raw = f"SELECT min(time) AS time, {columns} FROM ({rows}) GROUP BY {bucket} ORDER BY 1"
        ours = f"FROM {kind}($pair, {size}, $start, $stop)"
        params: dict[str, Any] = {"pair": PAIR, "start": f"{YEAR[0]}T00:00:00Z", "stop": f"{YEAR[1]}T00:00:00Z"}
        answers: dict[str, Answer] = {
            "ours": functools.partial(archive.sql, ours, to="arrow", decimals=True, **params),
            "ours, pandas": functools.partial(archive.sql, ours, **params),
            "raw DuckDB": functools.partial(rivals.duckdb, raw, **params),
        }
        found.append(Question(f"{kind} of a year", "x1.75", answers, exact=kind in {"time_bars", "tick_bars"}))
    return found


def published(archive: Archive, rivals: Rivals) -> list[Question]:
    """Ask for the exchange's candles."""
    stored = str(next(archive_files(archive, "ohlc/timeframe=1m")))
    raw = f"FROM read_parquet($candles) WHERE pair = $pair AND {RAW_RANGE} ORDER BY time"

    def frame(span: tuple[str, str]) -> pd.DataFrame:
        start, stop = (pd.Timestamp(end, tz="UTC") for end in span)
        filters = [("pair", "==", PAIR), ("time", ">=", start), ("time", "<", stop)]
        candles = pd.read_parquet(stored, filters=filters, partitioning=None)
        decimals = ["open", "high", "low", "close", "vwap", "volume"]
        return candles.astype(dict.fromkeys(decimals, float))

    return [
        Question(
            f"published candles of {name}{', filled' if filled else ''}",
            "pandas",
            {
                "ours": lambda span=span, filled=filled: archive.ohlc(  # type: ignore[misc]
                    PAIR, "1m", *span, filled=filled, to="arrow", decimals=True
                ),
                "ours, pandas": lambda span=span, filled=filled: archive.ohlc(PAIR, "1m", *span, filled=filled),  # type: ignore[misc]
                "raw DuckDB": lambda span=span: rivals.client.sql(  # type: ignore[misc]
                    raw, params={"candles": stored, "pair": PAIR, "start": span[0], "stop": span[1]}
                ).to_arrow_table(),
                "pandas": lambda span=span: frame(span),  # type: ignore[misc]
                "polars": lambda span=span: polars_published(stored, span),  # type: ignore[misc]
            },
        )
        for name, span in (("a month", MONTH), ("a year", YEAR))
        for filled in (False, True)
    ]


def polars_published(stored: str, span: tuple[str, str]) -> pl.DataFrame:
    start, stop = (pd.Timestamp(end, tz="UTC").to_pydatetime() for end in span)
    inside = (pl.col("pair") == PAIR) & (pl.col("time") >= start) & (pl.col("time") < stop)
    return pl.scan_parquet(stored).filter(inside).collect()


def archive_files(archive: Archive, folder: str) -> Iterator[Path]:
    return (archive._reader.data / folder).rglob("*.parquet")  # noqa: SLF001


def proofs(archive: Archive, rivals: Rivals) -> list[Question]:
    """Ask what is there: by footers, and of one day by its rows. Raw DuckDB counts rows, which proves less."""
    counted = "SELECT pair, min(trade_id), max(trade_id), count(*) FROM read_parquet($file) GROUP BY pair"
    day = "FROM certificates WHERE pair = $pair AND day = $day::DATE"
    one = (
        "SELECT min(trade_id), max(trade_id), count(*) FROM read_parquet($file) "
        "WHERE pair = $pair AND time >= $day::TIMESTAMPTZ AND time < $day::TIMESTAMPTZ + INTERVAL 1 DAY"
    )
    names = {"coverage": archive.coverage, "gaps": archive.gaps, "certificates": archive.certificates}
    found = [
        Question(
            f"{name}()",
            "",
            {
                "ours": lambda ask=ask: ask(to="arrow"),  # type: ignore[misc]
                "ours, pandas": lambda ask=ask: ask(),  # type: ignore[misc]
                "raw DuckDB": lambda: rivals.duckdb(counted),
            },
            exact=False,
        )
        for name, ask in names.items()
    ]
    found.append(
        Question(
            "rows counted: coverage, view",
            "view",
            {
                "ours": lambda: archive.sql("SELECT sum(rows) AS n FROM coverage", to="arrow"),
                "ours, pandas": lambda: archive.sql("SELECT count(*) AS n FROM trades"),
                "raw DuckDB": lambda: rivals.duckdb("SELECT count(*) AS n FROM read_parquet($file)"),
            },
            exact=False,
        )
    )
    given: dict[str, Any] = {"pair": PAIR, "day": DAY[0]}
    found.append(
        Question(
            "certificate of one day",
            "+50 ms",
            {
                "ours": lambda: archive.sql(day, to="arrow", **given),
                "ours, pandas": lambda: archive.sql(day, **given),
                "raw DuckDB": lambda: rivals.duckdb(one, **given),
            },
            exact=False,
        )
    )
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
    arguments.add_argument("--only", default="", help="ask only questions with this in their name")
    given = arguments.parse_args()
    data = given.folder / "data"
    counted = len(list(data.glob("trades/*/*/*.parquet")))
    with connect(data) as archive:
        rows = archive.sql("SELECT sum(rows)::BIGINT AS n FROM coverage", to="arrow")["n"][0].as_py()
        print(
            f"{rows:,} trades of {len(archive.pairs())} pairs in {counted:,} files; median CPU of {given.rounds}, ms\n"
        )
        asked = questions(archive, Rivals(given.folder))
        print(f"{'':32}" + "".join(f"{name:>14}" for name in NAMES) + f"{'to raw':>16}{'target':>17}")
        for question in (one for one in asked if given.only in one.name):
            check(question)
            report(question, timed(question, given.rounds))
    opened(data)


def check(question: Question) -> None:
    """Stop where two answers have not the same rows, or not the same volume."""
    told = set()
    if not question.exact:
        return
    for answer in question.answers.values():
        found = answer()
        frame = found.to_pandas() if not isinstance(found, pd.DataFrame) else found
        quantity = frame["volume" if "volume" in frame else "qty"].astype(float).sum()
        told.add((len(frame), f"{quantity:.9e}"))
    if len(told) > 1:
        raise SystemExit(f"{question.name}: the answers differ: {told}")


def timed(question: Question, rounds: int) -> dict[str, float]:
    """Return the median CPU time of each in ms; in turns, so that a busy machine is busy for all.

    Each round begins with another one: who comes after pandas or polars pays for the memory that they gave back.
    """
    took: dict[str, list[float]] = {name: [] for name in question.answers}
    names = list(took)
    for begin in range(rounds):
        for name in (names[(begin + place) % len(names)] for place in range(len(names))):
            began = time.process_time()
            question.answers[name]()
            took[name].append((time.process_time() - began) * 1000)
    return {name: statistics.median(times) for name, times in took.items()}


def report(question: Question, took: dict[str, float]) -> None:
    raw, ours = took["raw DuckDB"], took["ours"]
    slower = " SLOWER THAN PANDAS" if took["ours, pandas"] > took.get("pandas", took["ours, pandas"]) else ""
    print(
        f"{question.name:32}"
        + "".join(f"{took[name]:14.1f}" if name in took else f"{'':14}" for name in NAMES)
        + f"{f'x{ours / raw:.2f}, {ours - raw:+.0f} ms':>16}{question.target:>17}{slower}"
    )


def opened(data: Path) -> None:
    """Print how long it takes to open the archive, here and in processes that know nothing yet."""
    warm = []
    for _ in range(COLD_RUNS):
        began = time.process_time()
        connect(data).close()
        warm.append((time.process_time() - began) * 1000)
    print(f"\nconnect() after imports             {statistics.median(warm):8.1f} ms (target 100)")
    ours = f"import recorder; recorder.connect({str(data)!r})"
    cold = {
        "import duckdb, pyarrow": "import duckdb, pyarrow",
        "connect(), cold process (x1.3)": ours,
        "and the first question, as Arrow": f"{ours}.trades('{PAIR}', '{DAY[0]}', '{DAY[1]}', to='arrow')",
        "and the first question, as pandas": f"{ours}.trades('{PAIR}', '{DAY[0]}', '{DAY[1]}')",
    }
    took: dict[str, list[float]] = {name: [] for name in cold}
    for _ in range(COLD_RUNS):
        for name, code in cold.items():
            took[name].append(_cpu_ms([sys.executable, "-c", code]))
    for name, times in took.items():
        print(f"{name:35} {statistics.median(times):8.1f} ms")
    # Not ru_maxrss, which a process inherits from the one that starts it.
    peak = "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) >> 10)"
    size = "print(int(found.memory_usage(deep=True).sum()) >> 20)"
    # What all questions need is loaded before the first look.
    begun = f"archive = {ours.removeprefix('import recorder; ')}; archive.trades('{PAIR}', '{DAY[0]}', '{DAY[1]}')"
    asked = f"found = archive.trades('{PAIR}', '{YEAR[0]}', '{YEAR[1]}')"
    code = f"import recorder; {begun}; {peak}; {asked}; {size}; {peak}"
    before, frame, after = (
        int(line) for line in subprocess.check_output([sys.executable, "-c", code], text=True).split()
    )
    print(f"{'trades of a year':35} {after - before:8d} MB at the peak for a frame of {frame} MB (target x1.5)")


def _cpu_ms(command: list[str]) -> float:
    """Return the CPU time that a process takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


if __name__ == "__main__":
    main()
