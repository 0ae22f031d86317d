"""The archive in polars: trades, unknown ids and exact candles, as lazy frames.

trades()            as in docs/queries.md, and year, the folder: a filter by pair and year opens only those files
unknown_ids(pair)   one row per run of ids that are neither stored nor known: pair, first_id, last_id, after_time,
                    before_time. The last run of a pair is open: its last_id is null
candles(pair, timeframe)  the columns of candles(pair, timeframe) of docs/queries.md

KNOWN has the ids known without a row, as of when this was printed: void or disowned, and anchors of promises.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl

DATA = "$data"
KNOWN: list[tuple[str, int, int, int | None]] = json.loads("""[
    $known
]""")
MINUTES = {
    "1m": 1,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "4h": 240,
    "12h": 720,
    "1d": 1440,
    "1w": 10080,
    "15d": 21600,
}
LAST = 2**63 - 1


def trades() -> pl.LazyFrame:
    """Scan the folder, whose names have the pair; a glob has no column pair, and mixes the trades of all pairs."""
    return pl.scan_parquet(f"{DATA}/trades", hive_schema={"pair": pl.String, "year": pl.Int64})


def amount() -> pl.Expr:
    """Return price * qty, exact: polars rounds a product to the larger of two scales, which would be 12 of 20."""
    fits = pl.col("price").cast(pl.Float64) * pl.col("qty").cast(pl.Float64) < 1e12
    # Integers, since a price with 20 decimals may not fit. They have the scale 20.
    product = pl.col("price").to_physical() * pl.col("qty").to_physical()
    return pl.when(fits).then(product)


def unknown_ids(pair: str) -> pl.LazyFrame:
    """Return the ids of one pair that are neither stored nor known."""
    stored = (
        trades()
        .filter(pl.col("pair") == pair)
        .select(first_id="trade_id", last_id="trade_id", time=pl.col("time").dt.epoch("us"))
    )
    known = pl.LazyFrame(
        [row[1:] for row in KNOWN if row[0] == pair],
        schema={"first_id": pl.Int64, "last_id": pl.Int64, "time": pl.Int64},
        orient="row",
    )
    # A time at which no trade can have been made limits nothing.
    limits = [datetime(2011, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=366)]
    low, high = (int(moment.timestamp()) * 1_000_000 for moment in limits)
    reached = pl.col("last_id").cum_max()
    return (
        pl.concat([stored, known])
        .sort("first_id", "last_id")
        .with_columns(pl.when(pl.col("time").is_between(low, high)).then("time").alias("time"))
        .select(
            first_id=pl.concat([pl.lit(0, pl.Int64), reached]) + 1,
            last_id=pl.concat([pl.col("first_id") - 1, pl.lit(None, pl.Int64)]),
            after_time=pl.concat([pl.lit(None, pl.Int64), pl.col("time").forward_fill()]),
            before_time=pl.concat([pl.col("time").backward_fill(), pl.lit(None, pl.Int64)]),
        )
        .filter(pl.col("last_id").is_null() | (pl.col("first_id") <= pl.col("last_id")))
        .select(
            pl.lit(pair).alias("pair"),
            "first_id",
            "last_id",
            pl.from_epoch("after_time", "us").dt.replace_time_zone("UTC"),
            pl.from_epoch("before_time", "us").dt.replace_time_zone("UTC"),
        )
    )


def candles(pair: str, timeframe: str) -> pl.LazyFrame:
    """Return the exact candles of one pair, one row for each bar with trades."""
    width = MINUTES[timeframe] * 60_000_000
    number = pl.col("time").dt.epoch("us") // width
    in_order = pl.col("price").sort_by("trade_id")
    bars = (
        trades()
        .filter(pl.col("pair") == pair)
        .group_by(number.alias("number"))
        .agg(
            open=in_order.first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=in_order.last(),
            # Null with a trade that is too large.
            amount=pl.when(amount().count() == pl.len()).then(amount().sum()),
            volume=pl.col("qty").sum(),
            count=pl.len(),
        )
        .sort("number")
    )
    # A bar is complete unless unknown ids that begin in it or before it end in it or after it.
    ends = (
        unknown_ids(pair)
        .select(
            number=(pl.col("after_time").dt.epoch("us") // width).fill_null(-1),
            unknown_until=(pl.col("before_time").dt.epoch("us") // width).fill_null(LAST),
        )
        .sort("number")
        .with_columns(pl.col("unknown_until").cum_max())
    )
    listings = (
        pl.scan_parquet(f"{DATA}/instruments")
        .filter(pl.col("pair") == pair)
        .sort("valid_from")
        .select(
            since=pl.when(pl.int_range(pl.len()) > 0).then(pl.col("valid_from").dt.epoch("us")).otherwise(0),
            step=pl.lit(10, pl.Int64).pow(12 - pl.col("pair_decimals")),
        )
    )
    # vwap is truncated. Of integers with 20 and 8 decimals, the quotient has 12.
    quotient = pl.col("amount") // pl.col("volume").to_physical()
    truncated = quotient - quotient % pl.col("step").fill_null(1)
    step12 = pl.lit(Decimal("0.000000000001"), pl.Decimal(38, 12))
    return (
        bars.join_asof(ends, on="number")
        .with_columns(start=pl.col("number") * width)
        .join_asof(listings, left_on="start", right_on="since")
        .select(
            pl.lit(pair).alias("pair"),
            pl.lit(timeframe).alias("timeframe"),
            pl.from_epoch("start", "us").dt.replace_time_zone("UTC").alias("time"),
            "open",
            "high",
            "low",
            "close",
            (truncated.cast(pl.Decimal(38, 0)) * step12).cast(pl.Decimal(28, 12)).alias("vwap"),
            "volume",
            pl.col("count").cast(pl.Int64),
            complete=(pl.col("unknown_until") < pl.col("number")).fill_null(value=True),
        )
    )
