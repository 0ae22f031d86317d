-- What are one pair's bars of a fixed volume each?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $size   DECIMAL             how much of the base currency a bar has
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- The macro volume_bars() describes the columns.

SELECT * EXCLUDE (pair)
FROM volume_bars($pair, $size, $start, $stop)
ORDER BY first_id;
