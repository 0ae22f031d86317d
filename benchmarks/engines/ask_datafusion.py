"""The questions asked of DataFusion, in its own SQL over the folder: python ask_datafusion.py DATA VIEWS.

There are no views for it, so it answers bars without vwap and ``complete``, and ids missing by the rows alone.
"""

from __future__ import annotations

import json
import sys

import pyarrow as pa
from datafusion import SessionContext

QUESTIONS = {
    "totals": "SELECT pair, count(*), min(trade_id), max(trade_id), sum(qty), sum(price * qty) FROM trades GROUP BY 1",
    "days": "SELECT pair, CAST(time AS BIGINT) / 86400000000, sum(qty) FROM trades GROUP BY 1, 2",
    "bars": """
        SELECT pair, CAST(time AS BIGINT) / 60000000 * 60000000, first_value(price ORDER BY trade_id), max(price),
            min(price), last_value(price ORDER BY trade_id), sum(qty), count(*)
        FROM trades
        GROUP BY 1, 2
    """,
    "rows_missing": """
        SELECT pair, 1 + before, trade_id - 1
        FROM (
            SELECT pair, trade_id, lag(trade_id, 1, 0) OVER (PARTITION BY pair ORDER BY trade_id) AS before
            FROM trades
        )
        WHERE trade_id > 1 + before
    """,
}


def main(data: str, _: str) -> None:
    context = SessionContext()
    folders = [("pair", pa.string()), ("year", pa.int32())]
    context.register_parquet("trades", f"{data}/trades", table_partition_cols=folders)
    answers = {}
    for name, text in QUESTIONS.items():
        answers[name] = [list(row.values()) for row in context.sql(text).to_pylist()]
    print(json.dumps({"answers": answers}, default=str))


main(*sys.argv[1:])
