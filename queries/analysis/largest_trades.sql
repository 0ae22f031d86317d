-- Which were the largest trades of one pair?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $limit  BIGINT = 20         how many
-- $start  TIMESTAMPTZ = NULL  trades from this moment on count; NULL: all
-- $stop   TIMESTAMPTZ = NULL  trades before this moment count; NULL: all
--
-- By amount, which is price * qty in the quote currency, exact; of equal ones the older first. One of 10^12 or
-- more fits no decimal, and is NULL.

SELECT t.trade_id, t.time, t.side, t.price, t.qty, trade_amount(t.price, t.qty) AS amount, t.ord_type
FROM pair_trades($pair, $start, $stop) AS t
ORDER BY amount DESC NULLS FIRST, t.price::DOUBLE * t.qty::DOUBLE DESC, t.trade_id
LIMIT $limit;
