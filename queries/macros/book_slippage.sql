-- What would an order of this size have been filled at, against the recorded book of one pair at a moment?
--
-- book_slippage(pair, moment, side, qty, by)
--   moment, by  as in book_at()
--   side        'buy', which takes asks, or 'sell', which takes bids
--   qty         in the base currency
--
-- book_slippage(pair, moment, side, qty, filled, levels, best_price, worst_price, amount, mean_price, slippage, verified)
--   filled      how much the recorded levels hold, at most qty; if less, the book may have been deeper
--   amount      what it costs or brings, in the quote currency
--   mean_price  amount by filled; slippage is its distance from best_price by that price, never below zero. Both are
--               doubles
--   verified    whether all levels taken are: see book_levels()
--
-- No fees, and nobody else trades meanwhile. No row if nothing is known, or the side is empty.

CREATE OR REPLACE MACRO book_slippage(pair, moment, side, qty, by := 'received') AS TABLE
WITH
levels AS (
    SELECT
        b.moment,
        b.level,
        b.price,
        b.qty,
        b.verified,
        coalesce(sum(b.qty) OVER (ORDER BY b.level ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM book_levels(pair, [utc_moment(moment)], "by") AS b
    WHERE b.side = CASE side
        WHEN 'buy' THEN 'ask'
        WHEN 'sell' THEN 'bid'
        ELSE error('side is ''buy'' or ''sell''')
    END
),
taken AS (
    SELECT
        l.*,
        least(l.qty, qty::DECIMAL(28, 8) - l.before)::DECIMAL(28, 8) AS part
    FROM levels AS l
    WHERE l.before < qty::DECIMAL(28, 8)
)
SELECT
    pair AS pair,
    any_value(t.moment) AS moment,
    side AS side,
    qty::DECIMAL(28, 8) AS qty,
    sum(t.part)::DECIMAL(38, 8) AS filled,
    count(*) AS levels,
    arg_min(t.price, t.level) AS best_price,
    arg_max(t.price, t.level) AS worst_price,
    sum(trade_amount(t.price, t.part)) AS amount,
    sum(trade_amount(t.price, t.part))::DOUBLE / sum(t.part)::DOUBLE AS mean_price,
    abs(sum(trade_amount(t.price, t.part))::DOUBLE / sum(t.part)::DOUBLE / arg_min(t.price, t.level)::DOUBLE - 1)
        AS slippage,
    bool_and(t.verified) AS verified
FROM taken AS t
HAVING count(*) > 0
UNION ALL BY NAME
FROM without_book(pair);
