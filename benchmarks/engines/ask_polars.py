"""The questions asked of polars, through the functions printed for it: python ask_polars.py DATA VIEWS."""

from __future__ import annotations

import json
import runpy
import sys

import polars as pl


def main(data: str, views: str) -> None:
    archive = runpy.run_path(views)
    trades = archive["trades"]()
    pairs = sorted(trades.select(pl.col("pair").unique()).collect()["pair"].to_list())
    product = (pl.col("price").cast(pl.Decimal(38, 20)) * pl.col("qty")).sum()
    totals = trades.group_by("pair").agg(
        pl.len(),
        pl.col("trade_id").min().alias("lowest"),
        pl.col("trade_id").max().alias("highest"),
        pl.col("qty").sum(),
        product.alias("amount"),
    )
    day = (pl.col("time").dt.epoch("us") // 86_400_000_000).alias("day")
    missing = pl.concat([archive["unknown_ids"](pair) for pair in pairs]).drop_nulls("last_id")
    candles = pl.concat([archive["candles"](pair, timeframe) for pair in pairs for timeframe in archive["MINUTES"]])
    globbed = pl.scan_parquet(f"{data}/trades/*/*/*.parquet")
    partitioned = pl.scan_parquet(f"{data}/trades/*/*/*.parquet", hive_partitioning=True)

    def named(frame: pl.LazyFrame) -> list[tuple[object, ...]]:
        return frame.select("pair").unique().collect().rows() if "pair" in frame.collect_schema() else []

    naive = trades.group_by("pair").agg((pl.col("price") * pl.col("qty")).sum())
    found = {
        "answers": {
            "totals": totals.collect().rows(),
            "days": trades.group_by("pair", day).agg(pl.col("qty").sum()).collect().rows(),
            "missing": missing.select("pair", "first_id", "last_id").collect().rows(),
            "candles": candles.with_columns(pl.col("time").dt.epoch("us")).collect().rows(),
        },
        "traps": {
            "a glob has no pair": {
                "of": "pairs",
                "naive": named(globbed),
                "remedies": {"the folder": named(trades), "hive_partitioning=True": named(partitioned)},
            },
            "price * qty is rounded": {
                "of": "products",
                "naive": naive.collect().rows(),
                "remedies": {
                    "a cast to 20 decimals": trades.group_by("pair").agg(product.alias("sum")).collect().rows()
                },
            },
        },
    }
    print(json.dumps(found, default=str))


main(*sys.argv[1:])
