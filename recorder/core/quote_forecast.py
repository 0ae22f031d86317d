"""What recording quotes or books will take, estimated before it begins: from how much pairs trade, and costs."""

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
BOOK_MESSAGES_A_TRADE: Final = {10: 174, 25: 260, 100: 390, 500: 520, 1000: 590}
"""Messages of a book for each trade, by depth: 2,960 for 17 in the same 22 seconds at depth 10; deeper ones are an
extrapolation, as no capture of them is known."""
BOOK_ARCHIVE_BYTES: Final = 13
"""Bytes of a message in the archive: 6.8 a row and 1.8 rows a message in that capture (benchmarks/books.py)."""
BOOK_RAW_BYTES: Final = 39
"""Bytes of a message in a retired journal segment, compressed (benchmarks/books.py)."""


@dataclass(frozen=True, slots=True)
class BookForecast:
    """An estimate for one day of the books of some pairs: messages, and bytes in archive and retired segments."""

    pairs: int
    messages: int

    @property
    def archive_bytes(self) -> int:
        """Bytes that a day adds to the archive."""
        return self.messages * BOOK_ARCHIVE_BYTES

    @property
    def raw_bytes(self) -> int:
        """Bytes that a day adds to the retired segments, for as long as these are kept."""
        return self.messages * BOOK_RAW_BYTES


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


def forecast_books(trades_a_day: Iterable[int], depth: int) -> BookForecast:
    """Return the estimate for books of a depth, given how many trades each pair had in the last 24 hours.

    >>> forecast_books([50_000, 1_000], 10).archive_bytes
    115362000
    """
    counts = list(trades_a_day)
    return BookForecast(len(counts), sum(counts) * BOOK_MESSAGES_A_TRADE[depth])
