"""Real trades from ../shared, which is not part of this repository; tests that want them skip where it is absent."""

from __future__ import annotations

import csv
import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.core.model import Trade

DATA = Path(__file__).parents[2] / "shared" / "data" / "real"


def real(folder: str) -> Path:
    """Return a folder of real files, described in its PROVENANCE.md; skip the test where it is absent."""
    if not DATA.is_dir():
        pytest.skip("../shared/data/real is not here")
    return DATA / folder


def downloaded() -> list[Trade]:
    """Return 26,921 trades of BTC/USDT of six days of 2023, of which 26 ids in between are missing (PROVENANCE.md)."""
    with gzip.open(real("trades_bulk") / "BTC_USDT_2023-11_with_ids.csv.gz", "rt") as file:
        return [
            Trade(
                pair="BTC/USDT",
                trade_id=int(row["id"]),
                time_us=int(row["timestamp_ms"]) * 1000,
                price=Decimal(row["price"]),
                qty=Decimal(row["amount"]),
                side="buy" if row["side"] == "buy" else "sell",
                ord_type="market" if row["type"] == "market" else "limit",
                misc="",
                source="bulk",
                received_us=None,
            )
            for row in csv.DictReader(file)
        ]
