-- What are the totals of the trades of a group, such as a bar?
--
-- ohlcv(trade_id, price, qty)  an aggregate: open, high, low, close, amount, volume and count, as a struct to unnest()
--   open    the price of the lowest id, close that of the highest: trades are ordered by id, not by time
--   amount  sum(price * qty), in the quote currency; volume is sum(qty), in the base currency
-- trade_amount(price, qty)     price * qty; NULL from 10^12 on
--
-- The product of a price and a quantity may not fit a decimal even though both do. No real trade is nearly that large,
-- so such a trade is invalid: it makes the amount of its group NULL, and has no other effect.
--
-- DuckDB computes only the fields that are selected.

-- The product of two small factors need not be computed twice, which took a seventh of the time of a candle.
CREATE OR REPLACE MACRO trade_amount(price, qty) AS CASE
    WHEN price < 1000000::DECIMAL(28, 12) AND qty < 1000000::DECIMAL(28, 8) THEN price * qty
    WHEN price::DOUBLE * qty::DOUBLE < 1e12 THEN price * qty
END;

CREATE OR REPLACE MACRO ohlcv(trade_id, price, qty) AS {
    open: arg_min(price, trade_id),
    high: max(price),
    low: min(price),
    close: arg_max(price, trade_id),
    amount: CASE WHEN count(trade_amount(price, qty)) = count(trade_id) THEN sum(trade_amount(price, qty)) END,
    volume: sum(qty),
    count: count(trade_id)
};
