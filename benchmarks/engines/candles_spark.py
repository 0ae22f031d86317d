"""Write the 1-hour candles of all pairs by pair and year, with Spark: python candles_spark.py DATA VIEWS OUT MASTER."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

CANDLES = "SELECT *, CAST(date_format(time, 'yyyy') AS INT) AS year FROM candles WHERE timeframe = '1h'"
FEW = "SELECT qty FROM trades WHERE pair = 'BTC/USD' AND year = 2024"
SCAN = "PartitionFilters: [isnotnull(pair"


def main(data: str, views: str, out: str, master: str) -> None:
    session = (
        SparkSession.builder.master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "2g")
        .config("spark.executor.memory", "2g")
        .getOrCreate()
    )
    for statement in Path(views).read_text().split(";\n"):
        if statement.strip():
            session.sql(statement)
    began_s = time.perf_counter()
    session.sql(CANDLES).write.partitionBy("pair", "year").parquet(out)
    took_s = time.perf_counter() - began_s
    plan = session.sql(f"EXPLAIN {FEW}").collect()[0][0]
    opened = session.sql(f"SELECT DISTINCT input_file_name() FROM ({FEW})").collect()
    home = "/trades/pair=BTC%252FUSD/year=2024/"  # as a URL: the % of the folder's name is encoded
    checks = {
        "a filter by pair and year prunes folders": SCAN in plan and "(year" in plan.partition(SCAN)[2].split("]")[0],
        "and opens their files alone": bool(opened) and all(home in name for (name,) in opened),
    }
    executors = session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - (not master.startswith("local"))  # noqa: SLF001 -- has no other name
    print(json.dumps({"seconds": took_s, "executors": executors, "checks": checks, "data": data}))


main(*sys.argv[1:])
