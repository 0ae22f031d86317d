-- Which rows of the tables without ids belong to one moment of the archive?
--
-- recorder_<table>_files      files all of whose rows belong to the moment, and the table's empty schema file
-- recorder_<table>_cut_files  files with rows that came later, which happens when a frozen moment outlives a
--                             compaction; and the schema file
-- recorder_until              of each folder with such files, the newest stamp that belongs to the moment
--
-- The macros stored_ohlc(), stored_events() and stored_instruments() of a connection that recorder.connect() holds to
-- a listing, with the columns of the plain ones. It sets the variables.

CREATE OR REPLACE MACRO recorder_kept(file, stamp) AS
    stamp <= getvariable('recorder_until')[parse_dirpath(file)];

CREATE OR REPLACE MACRO stored_ohlc() AS TABLE
SELECT pair, timeframe, time, open, high, low, close, vwap, volume, count, source, seen
FROM (
    FROM read_parquet(
        getvariable('recorder_ohlc_files'),
        hive_partitioning = true,
        hive_types = {'timeframe': VARCHAR, 'year': BIGINT},
        hive_types_autocast = false
    )
    UNION ALL
    SELECT * EXCLUDE (filename)
    FROM read_parquet(
        getvariable('recorder_ohlc_cut_files'),
        hive_partitioning = true,
        hive_types = {'timeframe': VARCHAR, 'year': BIGINT},
        hive_types_autocast = false,
        filename = true
    )
    WHERE recorder_kept(filename, seen)
);

CREATE OR REPLACE MACRO stored_events() AS TABLE
SELECT time, kind, pair, detail
FROM (
    FROM read_parquet(
        getvariable('recorder_events_files'),
        hive_partitioning = true,
        hive_types = {'year': BIGINT},
        hive_types_autocast = false
    )
    UNION ALL
    SELECT * EXCLUDE (filename)
    FROM read_parquet(
        getvariable('recorder_events_cut_files'),
        hive_partitioning = true,
        hive_types = {'year': BIGINT},
        hive_types_autocast = false,
        filename = true
    )
    WHERE recorder_kept(filename, time)
);

CREATE OR REPLACE MACRO stored_instruments() AS TABLE
SELECT
    pair, valid_from, key, altname, wsname, base, quote, pair_decimals, lot_decimals, cost_decimals, tick_size,
    ordermin, costmin, status
FROM (
    FROM read_parquet(getvariable('recorder_instruments_files'))
    UNION ALL
    SELECT * EXCLUDE (filename)
    FROM read_parquet(getvariable('recorder_instruments_cut_files'), filename = true)
    WHERE recorder_kept(filename, valid_from)
);
