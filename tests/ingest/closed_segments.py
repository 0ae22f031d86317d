"""Closed segments with trades, and what drains them."""

from __future__ import annotations

from pathlib import Path

from recorder.ingest.drain import Drainer
from recorder.journal import segment
from recorder.ops.metrics import Metrics
from tests.builders import Shop, frame

MADE_S = 1_783_465_210.5


def drainer(opened: Shop, *, keep_raw: bool = True, metrics: Metrics | None = None) -> Drainer:
    return Drainer(
        opened.journal,
        opened.archive,
        opened.tables,
        keep_raw=keep_raw,
        latest_s=lambda: MADE_S,
        metrics=metrics or Metrics(),
    )


def journalled(opened: Shop, *lines: bytes) -> Path:
    opened.journal.append(lines)
    opened.journal.rotate(2)
    return opened.journal.closed()[-1]


def line(first: int, last: int, pair: str = "BTC/USD") -> bytes:
    payload = frame(first, last).replace(b"BTC/USD", pair.encode())
    return segment.encode(1_783_465_206_000_000_000, "ws:trade:1", payload, parsed=True)
