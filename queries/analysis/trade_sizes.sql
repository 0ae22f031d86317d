-- How large are the trades of one pair?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $start  TIMESTAMPTZ = NULL  trades from this moment on count; NULL: all
-- $stop   TIMESTAMPTZ = NULL  trades before this moment count; NULL: all
--
-- One row for each power of ten with trades: quantities from from_qty on and below to_qty, in the base currency.
-- volume, amount (in the quote currency), median_qty and largest_qty are exact; share_of_trades and share_of_volume
-- are doubles. amount is NULL where one of its trades comes to 10^12 or more. missing_trades is how many ids between
-- those held may belong to the range: the same in every row.

WITH sizes AS (
    SELECT
        decimal_exponent(t.qty) AS exponent,
        unnest(ohlcv(t.trade_id, t.price, t.qty)),
        quantile_disc(t.qty, 0.5) AS median_qty,
        max(t.qty) AS largest_qty
    FROM pair_trades($pair, $start, $stop) AS t
    GROUP BY exponent
)
SELECT
    power_of_ten(s.exponent)::DECIMAL(38, 8) AS from_qty,
    power_of_ten(s.exponent + 1)::DECIMAL(38, 8) AS to_qty,
    s.count,
    s.volume,
    s.amount,
    s.median_qty,
    s.largest_qty,
    s.count / sum(s.count) OVER () AS share_of_trades,
    s.volume / sum(s.volume) OVER () AS share_of_volume,
    m.missing_trades
FROM sizes AS s
CROSS JOIN missing_between($pair, $start, $stop) AS m
ORDER BY from_qty;
