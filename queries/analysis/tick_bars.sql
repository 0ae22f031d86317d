-- What are one pair's bars of a fixed number of trades each?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $size   BIGINT = 1000       how many trades a bar has
-- $start  TIMESTAMPTZ = NULL  only trades from this time on; NULL: all
-- $stop   TIMESTAMPTZ = NULL  only trades before this time; NULL: all
--
-- The macro tick_bars() describes the columns.

SELECT * EXCLUDE (pair)
FROM tick_bars($pair, $size, $start, $stop)
ORDER BY first_id;
