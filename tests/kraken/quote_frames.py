"""Frames of the ticker channel, as the exchange prints them."""

from __future__ import annotations

import json

PAIR = "BTC/USD"
REAL = (
    b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":83744.2,"bid_qty":0.56251979,"ask":83744.3,'
    b'"ask_qty":0.00044780,"last":83744.3,"volume":3156.84782110,"vwap":84174.6,"low":83163.6,"high":85247.4,'
    b'"change":-429.3,"change_pct":-0.51,"trades":135262,"timestamp":"2026-09-25T17:48:26.844359Z"}]}'
)
"""A frame as it came, byte for byte."""


def top(symbol: str = PAIR, /, **fields: str) -> str:
    """Return one row; ``fields`` are JSON text, and an empty one is left out."""
    usual = {
        "symbol": json.dumps(symbol),
        "bid": "83744.2",
        "bid_qty": "0.56251979",
        "ask": "83744.3",
        "ask_qty": "0.00044780",
        "last": "83744.3",
        "volume": "3156.84782110",
        "timestamp": '"2026-09-25T17:48:26.844359Z"',
    }
    return "{" + ",".join(f'"{name}":{text}' for name, text in (usual | fields).items() if text) + "}"


def ticker(*rows: str, kind: str = "update") -> bytes:
    """Return a frame."""
    return f'{{"channel":"ticker","type":"{kind}","data":[{",".join(rows or [top()])}]}}'.encode()
