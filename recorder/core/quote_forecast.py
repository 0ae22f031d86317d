"""What recording quotes will take, estimated before it begins: from how much the pairs trade, and measured costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

QUOTES_A_TRADE: Final = 43
"""Changes of the best bid and ask for each trade: 731 for 17 in 22 seconds of two busy pairs on 2026-07-07, 10 of one
and 122 of the other. So an estimate may be wrong by three times in either direction."""
ARCHIVE_BYTES: Final = 11
"""Bytes of a quote in the archive after compaction: 10.6 of that capture, 10.5 of the sandbox's (benchmarks/quotes.py).
"""
RAW_BYTES: Final = 38
"""Bytes of a frame in a retired journal segment, compressed (benchmarks/quotes.py)."""


@dataclass(frozen=True, slots=True)
class QuoteForecast:
    """An estimate for one day of some pairs: the number of quotes, and bytes in the archive and in retired segments."""

    pairs: int
    quotes: int

    @property
    def archive_bytes(self) -> int:
        """Bytes that a day adds to the archive."""
        return self.quotes * ARCHIVE_BYTES

    @property
    def raw_bytes(self) -> int:
        """Bytes that a day adds to the retired segments, for as long as these are kept."""
        return self.quotes * RAW_BYTES


def forecast(trades_a_day: Iterable[int]) -> QuoteForecast:
    """Return the estimate, given how many trades each pair had in the last 24 hours.

    >>> forecast([50_000, 1_000]).archive_bytes
    24123000
    """
    counts = list(trades_a_day)
    return QuoteForecast(len(counts), sum(counts) * QUOTES_A_TRADE)
