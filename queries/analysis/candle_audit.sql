-- Do the candles built from one pair's trades equal those that the exchange published, interval by interval?
--
-- $pair       VARCHAR             the v2 symbol, 'BTC/USD'
-- $timeframe  VARCHAR = 1m        one of 1m 5m 15m 30m 1h 4h 1d 1w 15d
-- $start      TIMESTAMPTZ = NULL  the first interval is the first that begins at or after it; NULL: all
-- $stop       TIMESTAMPTZ = NULL  the last interval is the last that begins before it; NULL: all
--
-- The macro candle_audit() describes the columns and the verdicts.

FROM candle_audit($pair, $timeframe, utc_moment($start), utc_moment($stop))
ORDER BY time;
