"""The questions asked of a plain DuckDB client, through ``recorder views``: python ask_duckdb.py DATA VIEWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

TIMEFRAMES = ("1m", "5m", "15m", "30m", "1h", "4h", "12h", "1d", "1w", "15d")
QUESTIONS = {
    "totals": "SELECT pair, count(*), min(trade_id), max(trade_id), sum(qty), sum(price * qty) FROM trades GROUP BY 1",
    "days": "SELECT pair, epoch_us(time) // 86400000000, sum(qty) FROM trades GROUP BY 1, 2",
    "missing": "SELECT pair, first_id, last_id FROM unknown_ids(footer_files()) WHERE before_id IS NOT NULL",
}


def main(_: str, views: str) -> None:
    with duckdb.connect() as client:
        client.execute(Path(views).read_text())
        pairs = [pair for (pair,) in client.execute("SELECT DISTINCT pair FROM trades").fetchall()]
        candles = " UNION ALL ".join(
            "SELECT pair, timeframe, epoch_us(time), open, high, low, close, vwap, volume, count, complete"
            f" FROM candles('{pair}', '{timeframe}')"
            for pair in pairs
            for timeframe in TIMEFRAMES
        )
        texts = {**QUESTIONS, "candles": candles}
        answers = {name: client.execute(text).fetchall() for name, text in texts.items()}
    print(json.dumps({"answers": answers}, default=str))


main(*sys.argv[1:])
