-- What do the trades of one group, such as a bar, add up to?
--
-- ohlcv(trade_id, price, qty)  an aggregate: open, high, low, close, amount, volume and count, as one struct; unnest() it
--   open    the price of the lowest id, close that of the highest: ids are the order, not times
--   amount  sum(price * qty), in the quote currency; volume is sum(qty), in the base currency
--
-- DuckDB computes only the fields that are asked for.

CREATE OR REPLACE MACRO ohlcv(trade_id, price, qty) AS {
    open: arg_min(price, trade_id),
    high: max(price),
    low: min(price),
    close: arg_max(price, trade_id),
    amount: sum(price * qty),
    volume: sum(qty),
    count: count(trade_id)
};
