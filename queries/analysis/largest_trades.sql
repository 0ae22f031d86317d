-- Which were the largest trades of one pair?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $limit  BIGINT = 20         how many
-- $start  TIMESTAMPTZ = NULL  only trades from this time on; NULL: all
-- $stop   TIMESTAMPTZ = NULL  only trades before this time; NULL: all
--
-- By amount, which is price * qty in the quote currency, exact; of equal amounts, the older trade comes first. An
-- amount of 10^12 or more does not fit the decimal type, and is NULL.

SELECT t.trade_id, t.time, t.side, t.price, t.qty, trade_amount(t.price, t.qty) AS amount, t.ord_type
FROM pair_trades($pair, $start, $stop) AS t
ORDER BY amount DESC NULLS FIRST, t.price::DOUBLE * t.qty::DOUBLE DESC, t.trade_id
LIMIT $limit;
