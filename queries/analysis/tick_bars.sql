-- What are the bars of so many trades each of one pair?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $size   BIGINT = 1000       how many trades a bar has
-- $start  TIMESTAMPTZ = NULL  trades from this moment on count; NULL: all
-- $stop   TIMESTAMPTZ = NULL  trades before this moment count; NULL: all
--
-- The macro tick_bars() describes the columns.

SELECT * EXCLUDE (pair)
FROM tick_bars($pair, $size, $start, $stop)
ORDER BY first_id;
