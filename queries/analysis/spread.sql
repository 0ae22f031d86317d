-- How wide was the spread of one pair between the best bid and ask, bar by bar?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $width  INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- Needs recorded quotes. The macro spread_bars() describes the columns.

SELECT * EXCLUDE (pair)
FROM spread_bars($pair, $width, $start, $stop)
ORDER BY time;
