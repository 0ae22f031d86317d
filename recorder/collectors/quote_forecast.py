"""The forecasts of what recording quotes and books will take, requested and logged before it begins."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Final

import structlog

from recorder.core.model import Instrument
from recorder.core.quote_forecast import BookForecast, QuoteForecast, forecast, forecast_books
from recorder.errors import ExchangeError
from recorder.kraken import rest_api, ticker_quotes
from recorder.runtime.exchange_client import Exchange

_MB: Final = 1_000_000
_GB: Final = 1_000_000_000

log = structlog.get_logger()


async def announce(exchange: Exchange, instruments: Collection[Instrument]) -> QuoteForecast | None:
    """Log how many quotes a day of these pairs will bring, and how many bytes; None if the exchange cannot be asked."""
    counts = await _trades_a_day(exchange, instruments, unknown="no forecast for quotes")
    if counts is None:
        return None
    made = forecast(counts)
    log.info(
        "quotes, by a rough forecast",
        pairs=made.pairs,
        quotes_a_day=made.quotes,
        archive_mb_a_day=round(made.archive_bytes / _MB, 1),
        raw_mb_a_day=round(made.raw_bytes / _MB, 1),
    )
    return made


async def announce_books(exchange: Exchange, instruments: Collection[Instrument], depth: int) -> BookForecast | None:
    """Log what a day of the books of these pairs will bring; None if the exchange cannot be asked."""
    counts = await _trades_a_day(exchange, instruments, unknown="no forecast for books")
    if counts is None:
        return None
    made = forecast_books(counts, depth)
    log.info(
        "books, by a rough forecast",
        pairs=made.pairs,
        depth=depth,
        messages_a_day=made.messages,
        archive_gb_a_day=round(made.archive_bytes / _GB, 3),
        raw_gb_a_day=round(made.raw_bytes / _GB, 3),
    )
    return made


async def _trades_a_day(exchange: Exchange, instruments: Collection[Instrument], *, unknown: str) -> list[int] | None:
    """Return how many trades each pair had in the last 24 hours; log ``unknown`` and return None if nobody answers."""
    counts: dict[str, int] = {}
    try:
        for asset_class, of_class in rest_api.by_class(instruments).items():
            read = functools.partial(ticker_quotes.parse_day_counts, instruments=of_class)
            _, found = await exchange.request(rest_api.ticker(of_class, asset_class), read)
            counts |= found
    except ExchangeError as error:
        log.warning(unknown, reason=str(error))
        return None
    return [counts.get(instrument.pair, 0) for instrument in instruments]
