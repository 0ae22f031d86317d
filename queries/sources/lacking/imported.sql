-- Which rows are in the tables of history files? None: an earlier release recorded this archive, and left no folders for
-- them.
--
-- In the script of `recorder views`, in place of the macros that read their files, which would fail without any. Footers
-- are read of the one file that every archive has, and which lists no history.

CREATE OR REPLACE MACRO imported_files(name) AS
    getvariable('recorder_data') || '/trades/pair=__none__/year=1970/schema.parquet';

CREATE OR REPLACE MACRO pair_imported_files(name, pair) AS imported_files(name);

CREATE OR REPLACE MACRO pair_bulk_trades(pair) AS TABLE
SELECT t.time, t.row, t.price, t.qty, t.member
FROM stored_bulk_trades() AS t;

CREATE OR REPLACE MACRO pair_bulk_ohlc(pair) AS TABLE
SELECT o.timeframe, o.time, o.open, o.high, o.low, o.close, o.volume, o.count, o.member, o.row
FROM stored_bulk_ohlc() AS o;
