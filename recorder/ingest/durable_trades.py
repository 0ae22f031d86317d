"""The newest durable trade of each pair, and how often trades come: for whoever looks, at nearly no cost otherwise.

Only lines that are in the journal count. Of each pair the line with its newest trade is kept, and read when somebody
looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from recorder.clock import Clock
from recorder.core.model import Trade
from recorder.core.trade_ids import Run
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment
from recorder.kraken import records
from recorder.runtime.inbox import Inbound

MEMORY_S: Final = 60.0
"""Time constant of the rate: a trade a minute ago counts for a third of one now."""
KEPT_BYTES: Final = 4_096
"""Longest line that is kept unread. Nearly all frames are shorter; an answer of REST may have 100 kB."""


@dataclass(slots=True)
class _Pair:
    """What came of one pair: ``line`` has its newest trade, or is empty once it was read."""

    last_id: int = 0
    last_us: int = -1
    line: bytes = b""
    trade: Trade | None = None
    weight: float = 0.0
    seen_s: float = 0.0


class DurableTrades:
    """Remembers what a group commit made durable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs: dict[str, _Pair] = {}

    def take(self, batch: Iterable[Inbound]) -> None:
        """Take the lines of a group commit."""
        now_s = self._clock.monotonic()
        for inbound in batch:
            for run in inbound.claims:
                one = self._pairs.get(run.pair)
                if one is None:
                    one = self._pairs[run.pair] = _Pair(seen_s=now_s)
                self._count(one, run, now_s)
                if run.last_us >= one.last_us:
                    one.last_id, one.last_us, one.line = run.span.last, run.last_us, inbound.line
                    if len(inbound.line) > KEPT_BYTES:
                        _read(run.pair, one)

    def newest(self, pair: str) -> Trade | None:
        """Return the newest durable trade of ``pair`` of this run; None if there is none."""
        one = self._pairs.get(pair)
        if one is not None and one.line:
            _read(pair, one)
        return None if one is None else one.trade

    def per_minute(self, pair: str) -> float:
        """Return how many trades of ``pair`` come in a minute, as of late."""
        one = self._pairs.get(pair)
        if one is None:
            return 0.0
        return one.weight * math.exp((one.seen_s - self._clock.monotonic()) / MEMORY_S) * 60.0 / MEMORY_S

    @staticmethod
    def _count(one: _Pair, run: Run, now_s: float) -> None:
        # The first trades of a run are those that the exchange shows of before it.
        new = 0 if not one.last_id else max(0, run.span.last - max(one.last_id, run.span.first - 1))
        if new:
            one.weight = one.weight * math.exp((one.seen_s - now_s) / MEMORY_S) + new
            one.seen_s = now_s


def _read(pair: str, one: _Pair) -> None:
    """Read the newest trade from its line."""
    line, one.line = one.line, b""
    try:
        rows = records.trades(segment.decode(line.rstrip(b"\n"), checked=True))
    except (Malformed, CorruptLine):  # reported by the drain
        return
    one.trade = next((row for row in reversed(rows) if row.pair == pair and row.trade_id == one.last_id), one.trade)
