-- Where are the files of an imported table, which are those of one pair, and which rows have they?
--
-- imported_files(name)             a glob over all files of bulk_trades or bulk_ohlc
-- pair_imported_files(name, pair)  a glob over those of one pair, and a few more, as pair_files() is
-- pair_bulk_trades(pair) and pair_bulk_ohlc(pair)  the rows of one pair: only its files are opened

CREATE OR REPLACE MACRO imported_files(name) AS getvariable('recorder_data') || '/' || name || '/*/*/*.parquet';

CREATE OR REPLACE MACRO pair_imported_files(name, pair) AS
    replace(pair_files(pair), '/trades/pair=', '/' || name || '/pair=');

CREATE OR REPLACE MACRO pair_bulk_trades(pair) AS TABLE
SELECT t.time, t.row, t.price, t.qty, t.member
FROM read_parquet(
    pair_imported_files('bulk_trades', pair),
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
) AS t
WHERE t.pair = pair;

CREATE OR REPLACE MACRO pair_bulk_ohlc(pair) AS TABLE
SELECT o.timeframe, o.time, o.open, o.high, o.low, o.close, o.volume, o.count, o.member, o.row
FROM read_parquet(
    pair_imported_files('bulk_ohlc', pair),
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
) AS o
WHERE o.pair = pair;
