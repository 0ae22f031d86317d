"""Answers of REST, recorded and made."""

from __future__ import annotations

import json
from pathlib import Path

from recorder.kraken import rest_api


def result_of(path: Path) -> bytes:
    return rest_api.result(200, path.read_bytes())


TRADE_ROW = b'["37247.00000","0.00026451",1701019771.0383663,"b","l","",%d]'


def ohlc_json(*rows: tuple[int, str], last: object = None) -> bytes:
    listed = [[time, price, price, price, price, price, "0.50000000", 1] for time, price in rows]
    return json.dumps({"XXBTZUSD": listed, "last": last}).encode()
