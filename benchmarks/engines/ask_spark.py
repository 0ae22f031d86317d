"""The questions asked of Spark, through the views printed for it: python ask_spark.py DATA VIEWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

QUESTIONS = {
    "totals": "SELECT pair, count(*), min(trade_id), max(trade_id), sum(qty), sum(price * qty) FROM trades GROUP BY 1",
    "days": "SELECT pair, unix_micros(time) div 86400000000, sum(qty) FROM trades GROUP BY 1, 2",
    "missing": "SELECT pair, first_id, last_id FROM unknown_ids WHERE pair <> '' AND last_id IS NOT NULL",
    "candles": "SELECT pair, timeframe, unix_micros(time), open, high, low, close, vwap, volume, count, complete"
    " FROM candles",
}
PRODUCT = "SELECT pair, sum(price * qty) FROM trades GROUP BY 1"
CAST = "SELECT pair, sum(CAST(price AS DECIMAL(18, 12)) * CAST(qty AS DECIMAL(18, 8))) FROM trades GROUP BY 1"


def main(data: str, views: str) -> None:
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.host", "localhost")
        .getOrCreate()
    )

    def rows(text: str) -> list[list[str]]:
        return [[str(value) for value in row] for row in session.sql(text).collect()]

    session.read.parquet(f"{data}/trades").createOrReplaceTempView("trades")
    naive, cast = rows(PRODUCT), rows(CAST)
    for statement in Path(views).read_text().split(";\n"):
        if statement.strip():
            session.sql(statement)
    answers = {name: rows(text) for name, text in QUESTIONS.items()}
    remedies = {"casts": cast, "allowPrecisionLoss=false": rows(PRODUCT)}
    plan = session.sql("EXPLAIN SELECT * FROM candles WHERE pair = 'BTC/USD' AND timeframe = '1m'").collect()[0][0]
    traps = {"price * qty is rounded": {"of": "products", "naive": naive, "remedies": remedies}}
    checks = {"a filter by pair prunes folders": "PartitionFilters: [isnotnull(pair" in plan}
    print(json.dumps({"answers": answers, "traps": traps, "checks": checks}))


main(*sys.argv[1:])
