"""Candles for tests, and what the tables without ids hold as plain Parquet readers see it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.core.model import TIMEFRAMES, Candle

NOON_US = int(datetime(2025, 11, 10, 12, tzinfo=UTC).timestamp()) * 1_000_000
NEW_YEAR_US = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE_US = 60_000_000


def candle(
    number: int, price: str = "100", *, pair: str = "BTC/USD", timeframe: str = "1m", from_us: int = NOON_US
) -> Candle:
    """Return the candle that begins ``number`` intervals after ``from_us``; all its prices are ``price``."""
    exact = Decimal(price)
    time_us = from_us + number * TIMEFRAMES[timeframe] * MINUTE_US
    return Candle(pair, timeframe, time_us, exact, exact, exact, exact, exact, Decimal("0.5"), 3)


def candles(first: int, last: int, price: str = "100", **rest: Any) -> list[Candle]:
    return [candle(number, price, **rest) for number in range(first, last + 1)]


def rows(data: Path, table: str) -> list[dict[str, Any]]:
    """Return all rows of a table, with what its folders say (``timeframe``), sorted; each file is checked."""
    found = []
    for path in sorted((data / table).rglob("*.parquet")):
        content = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)
        folders = dict(part.split("=", 1) for part in path.relative_to(data / table).parts[:-1])
        inside = content.to_pylist()
        if "year" in folders:
            assert {row["time"].year for row in inside} <= {int(folders["year"])}
        if table == "ohlc":
            keys = [(row["pair"], row["time"], row["seen"]) for row in inside]
            assert keys == sorted(keys), f"{path} is not in order"
        found += [{**row, **{name: value for name, value in folders.items() if name != "year"}} for row in inside]
    return sorted(found, key=lambda row: [str(value) for value in row.values()])


def latest_seen(data: Path) -> dict[tuple[str, str, int], Decimal]:
    """Return (pair, timeframe, start in µs) → the close of the row seen last, as the view does."""
    found = sorted(rows(data, "ohlc"), key=lambda row: row["seen"])
    return {(row["pair"], row["timeframe"], _us(row["time"])): row["close"] for row in found}


def repeated(data: Path) -> list[tuple[Any, ...]]:
    """Return the rows that say of a candle what the row seen before already said."""
    found = sorted(rows(data, "ohlc"), key=lambda row: row["seen"])
    last: dict[tuple[Any, ...], Any] = {}
    again = []
    for row in found:
        key = (row["pair"], row["timeframe"], row["time"])
        content = [row[name] for name in ("open", "high", "low", "close", "vwap", "volume", "count")]
        if last.get(key) == content:
            again.append(key)
        last[key] = content
    return again


def files_in(folder: Path) -> Counter[str]:
    """Count the files under ``folder`` by their own folder, but for those that tables are born with."""
    return Counter(path.parent.name for path in folder.rglob("*.parquet") if path.name != "schema.parquet")


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
