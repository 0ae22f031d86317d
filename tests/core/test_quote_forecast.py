from __future__ import annotations

from recorder.core.quote_forecast import ARCHIVE_BYTES, QUOTES_A_TRADE, RAW_BYTES, QuoteForecast, forecast


def test_a_forecast_grows_with_what_the_pairs_trade_and_none_trade_nothing() -> None:
    assert forecast([]) == QuoteForecast(0, 0)
    made = forecast([100_000, 0, 20])
    assert (made.pairs, made.quotes) == (3, 100_020 * QUOTES_A_TRADE)
    assert (made.archive_bytes, made.raw_bytes) == (made.quotes * ARCHIVE_BYTES, made.quotes * RAW_BYTES)
