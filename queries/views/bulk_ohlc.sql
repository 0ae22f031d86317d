-- Which candles are known from history files? One row per (pair, timeframe, time).
--
-- bulk_ohlc(pair, timeframe, time, open, high, low, close, volume, count, member, row)
--
-- All digits are as printed, of volumes up to 18 decimals: these are sums of binary numbers, so compare them rounded to
-- 8. timeframe is one of 1m 5m 15m 30m 1h 4h 12h 1d. An interval without trades has no row, and one at the end of a
-- quarter may lack it although it had some (bulk_audit). member and row are as in bulk_trades.

CREATE OR REPLACE VIEW bulk_ohlc AS
SELECT s.pair, s.timeframe, s.time, s.open, s.high, s.low, s.close, s.volume, s.count, s.member, s.row
FROM stored_bulk_ohlc() AS s;
