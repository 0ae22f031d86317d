-- Which rows stand in the tables that have no ids, one for each time that something was noted?
--
-- stored_ohlc()         every version of every candle of the exchange, each with when it was seen
-- stored_events()       what happened, detail as text
-- stored_instruments()  every listing of a pair that differed from the one before it
--
-- The views ohlc, events and instruments are made of these. Ask stored_ohlc() how a candle was revised.

CREATE OR REPLACE MACRO stored_ohlc() AS TABLE
SELECT pair, timeframe, time, open, high, low, close, vwap, volume, count, source, seen
FROM read_parquet(
    getvariable('recorder_data') || '/ohlc/*/*/*.parquet',
    hive_partitioning = true,
    hive_types = {'timeframe': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
);

CREATE OR REPLACE MACRO stored_events() AS TABLE
SELECT time, kind, pair, detail
FROM read_parquet(
    getvariable('recorder_data') || '/events/*/*.parquet',
    hive_partitioning = true,
    hive_types = {'year': BIGINT},
    hive_types_autocast = false
);

CREATE OR REPLACE MACRO stored_instruments() AS TABLE
SELECT
    pair, valid_from, key, altname, wsname, base, quote, pair_decimals, lot_decimals, cost_decimals, tick_size,
    ordermin, costmin, status
FROM read_parquet(getvariable('recorder_data') || '/instruments/*.parquet');
