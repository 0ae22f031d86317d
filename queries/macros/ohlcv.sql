-- What do the trades of one group, such as a bar, add up to?
--
-- ohlcv(trade_id, price, qty)  an aggregate: open, high, low, close, amount, volume and count, as one struct; unnest() it
--   open    the price of the lowest id, close that of the highest: ids are the order, not times
--   amount  sum(price * qty), in the quote currency; volume is sum(qty), in the base currency
-- trade_amount(price, qty)     price * qty; NULL from 10^12 on
--
-- A price and a quantity fit decimals whose product need not fit one. No real trade is nearly so large, so one that is
-- says nothing but that it is odd: it costs its group the amount, which is NULL, and no more.
--
-- DuckDB computes only the fields that are asked for.

-- Of two small factors nobody need compute the product twice, which took a seventh of a candle.
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
