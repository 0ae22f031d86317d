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
}
TIMEFRAMES = ("1m", "5m", "15m", "30m", "1h", "4h", "12h", "1d", "1w", "15d")
MISSING = "SELECT pair, first_id, last_id FROM unknown_ids(pair = '{pair}') WHERE last_id IS NOT NULL"
CANDLES = """
SELECT pair, timeframe, toUnixTimestamp64Micro(time), open, high, low, close, vwap, volume, count, complete
FROM candles(pair = '{pair}', timeframe = '{timeframe}')
"""


def main(data: str, views: str) -> None:
    session = Session()

    def rows(text: str) -> list[list[str]]:
        return [line.split("\t") for line in str(session.query(text, "TSV")).splitlines()]

    naive = rows(f"SELECT DISTINCT pair FROM file('{data}/trades/*/*/*.parquet', Parquet)")
    for statement in Path(views).read_text().split(";\n"):
        if statement.strip():
            session.query(statement)
    answers = {name: rows(text) for name, text in QUESTIONS.items()}
    pairs = [row[0] for row in answers["totals"]]
    answers["missing"] = [row for pair in pairs for row in rows(MISSING.format(pair=pair))]
    answers["candles"] = [
        row
        for pair in pairs
        for timeframe in TIMEFRAMES
        for row in rows(CANDLES.format(pair=pair, timeframe=timeframe))
    ]
    # Trades are read three times: for bars, for runs of ids, and for the end of these.
    largest = max(int(row[1]) for row in answers["totals"])
    read = json.loads(str(session.query(CANDLES.format(pair=pairs[0], timeframe="1m"), "JSON")))["statistics"][
        "rows_read"
    ]
    checks = {"candles of a pair read its files alone": read < 4 * largest}
    remedies = {"decodeURLComponent": rows("SELECT DISTINCT pair FROM trades")}
    traps = {"pair is not decoded": {"of": "pairs", "naive": naive, "remedies": remedies}}
    print(json.dumps({"answers": answers, "traps": traps, "checks": checks}))


main(*sys.argv[1:])
