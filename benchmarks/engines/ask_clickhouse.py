"""The questions asked of ClickHouse (chdb), through the views printed for it: python ask_clickhouse.py DATA VIEWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chdb.session import Session

QUESTIONS = {
    "totals": "SELECT pair, count(), min(trade_id), max(trade_id), sum(qty), sum(price * qty) FROM trades GROUP BY 1",
    "days": "SELECT pair, intDiv(toUnixTimestamp64Micro(time), 86400000000) AS day, sum(qty) FROM trades"
    " GROUP BY pair, day",
    "missing": "SELECT pair, first_id, last_id FROM unknown_ids WHERE pair <> '' AND last_id IS NOT NULL",
    "candles": "SELECT pair, timeframe, toUnixTimestamp64Micro(time), open, high, low, close, vwap, volume, count,"
    " complete FROM candles",
}


def main(data: str, views: str) -> None:
    session = Session()

    def rows(text: str) -> list[list[str]]:
        return [line.split("\t") for line in str(session.query(text, "TSV")).splitlines()]

    naive = rows(f"SELECT DISTINCT pair FROM file('{data}/trades/*/*/*.parquet', Parquet)")
    for statement in Path(views).read_text().split(";\n"):
        if statement.strip():
            session.query(statement)
    answers = {name: rows(text) for name, text in QUESTIONS.items()}
    remedies = {"decodeURLComponent": rows("SELECT DISTINCT pair FROM trades")}
    traps = {"pair is not decoded": {"of": "pairs", "naive": naive, "remedies": remedies}}
    print(json.dumps({"answers": answers, "traps": traps}))


main(*sys.argv[1:])
