-- What are the exact candles of one pair, over a snapshot of the archive?
--
-- candles(pair, timeframe, start, stop, bulk)  as the plain macro
--
-- Of a connection that recorder.connect() pins to a listing. An overload has bulk, because binding the files of all
-- sources takes as long as that of candles alone, and its type tells it from start and stop. A NULL in the place of these
-- may be taken for it, which changes nothing. (In a database file of an older format, parameters cannot have a type.)

CREATE OR REPLACE MACRO candles(pair, timeframe, start := NULL, stop := NULL) AS TABLE (
    SELECT c.pair, c.timeframe, c.time, c.open, c.high, c.low, c.close, c.vwap, c.volume, c.count, c.complete
    FROM candle_rows(pair, timeframe, start, stop) AS c
    ORDER BY c.time
), (pair, timeframe, bulk BOOLEAN, stop := NULL) AS TABLE (
    FROM bulk_candles(pair, timeframe, NULL, stop, bulk)
), (pair, timeframe, start, bulk BOOLEAN) AS TABLE (
    FROM bulk_candles(pair, timeframe, start, NULL, bulk)
), (pair, timeframe, start, stop, bulk BOOLEAN) AS TABLE (
    FROM bulk_candles(pair, timeframe, start, stop, bulk)
);
