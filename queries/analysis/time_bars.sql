-- What are one pair's bars of any width, beginning at any time?
--
-- $pair    VARCHAR             the v2 symbol, 'BTC/USD'
-- $width   INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start   TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop    TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
-- $origin  TIMESTAMPTZ = NULL  a time at which a bar begins; NULL: 1970-01-01 UTC
-- $filled  BOOLEAN = false     also bars without trades
--
-- The macro time_bars() describes the columns.

SELECT * EXCLUDE (pair)
FROM time_bars($pair, $width, $start, $stop, $origin, $filled)
ORDER BY time;
