-- Which trades without ids are known from history files? One row per trade.
--
-- bulk_trades(pair, time, row, price, qty, member)
--
-- time is in whole seconds. row is the place of the trade's line in its member, from 1: it gives the order, which times
-- alone do not. member are the first 16 digits of the member's SHA-256. All rows of a UTC day are of one member
-- (bulk_days), and equal rows are different trades. Proven is only that they are what the file says. The tables trades
-- and bulk_trades may both hold a trade, and only trades has its id: candles(…, bulk := true) takes each bar from one.

CREATE OR REPLACE VIEW bulk_trades AS
SELECT s.pair, s.time, s.row, s.price, s.qty, s.member
FROM stored_bulk_trades() AS s;
