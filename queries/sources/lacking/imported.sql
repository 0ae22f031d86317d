-- Which rows are in these tables of history files: $tables? None: an earlier release recorded this archive, and left no
-- folders for them.
--
-- In the script of `recorder views`, in place of the macros of these tables, whose files DuckDB would not find. Footers
-- are read of the one file that every archive has, and which lists no history.

CREATE OR REPLACE MACRO imported_files(name) AS CASE
    WHEN name IN ($tables) THEN getvariable('recorder_data') || '/trades/pair=__none__/year=1970/schema.parquet'
    ELSE getvariable('recorder_data') || '/' || name || '/*/*/*.parquet'
END;

CREATE OR REPLACE MACRO pair_imported_files(name, pair) AS CASE
    WHEN name IN ($tables) THEN imported_files(name)
    ELSE replace(pair_files(pair), '/trades/pair=', '/' || name || '/pair=')
END;

CREATE OR REPLACE MACRO pair_bulk_trades(pair) AS TABLE
SELECT t.time, t.row, t.price, t.qty, t.member
FROM stored_bulk_trades() AS t;

CREATE OR REPLACE MACRO pair_bulk_ohlc(pair) AS TABLE
SELECT o.timeframe, o.time, o.open, o.high, o.low, o.close, o.volume, o.count, o.member, o.row
FROM stored_bulk_ohlc() AS o;
