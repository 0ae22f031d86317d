-- How large are the trades of one pair?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $start  TIMESTAMPTZ = NULL  only trades from this time on; NULL: all
-- $stop   TIMESTAMPTZ = NULL  only trades before this time; NULL: all
--
-- One row for each power of ten with trades: quantities from from_qty (included) to to_qty (excluded), in the base
-- currency. volume, amount (in the quote currency), median_qty and largest_qty are exact; share_of_trades and
-- share_of_volume are doubles. amount is NULL if one of its trades amounts to 10^12 or more. missing_trades is the
-- number of ids between stored ones that may belong to the range: the same in every row.

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
