-- What are the exact candles of one pair, built from its trades?
--
-- candles(pair, timeframe, start, stop, bulk)
--   pair       the v2 symbol, 'BTC/USD'
--   timeframe  one of 1m 5m 15m 30m 1h 4h 12h 1d 1w 15d
--   start      the first bar is the first that begins at or after start; NULL or left out: open end
--   stop       the last bar is the last that begins before stop; NULL or left out: open end
--   bulk       true: bars for which the stored trades are not whole come from history files where these have them, and
--              the column origin says where each is from, trades, bulk_trades or bulk_ohlc. Each is from one source: of
--              bulk_ohlc only in its own timeframes and longer ones, without a vwap, and with its volume rounded to 8
--              decimals. A bar that no source covers whole is not complete
--
-- candles(pair, timeframe, time, open, high, low, close, vwap, volume, count, complete)
--   time       the start of the bar, in UTC; a bar without trades has no row
--   open       the price of the lowest id, close that of the highest: trades are ordered by id, not by time
--   vwap       sum(price * qty) / sum(qty), truncated (not rounded) to the pair's price decimals, as Kraken does (to 12
--              if the pair was never listed); NULL with a trade whose price * qty is 10^12 or more
--   complete   no trade of the bar can be missing: the bar is within one run of ids, each stored, void or disowned,
--              with a trade before the bar (or beginning with id 1) and one at or after its end
--
-- Bars are never cut by start and stop.

CREATE OR REPLACE MACRO candles(pair, timeframe, start := NULL, stop := NULL, bulk := false) AS TABLE
FROM bulk_candles(pair, timeframe, start, stop, bulk);
