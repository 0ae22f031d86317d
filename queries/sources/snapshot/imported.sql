-- Where are the files of an imported table in a snapshot of the archive, which are those of one pair, and which rows have they?
--
-- imported_files(name)             those of bulk_trades or bulk_ohlc in the snapshot
-- pair_imported_files(name, pair)  those of one pair, and the empty schema file of the table
-- pair_bulk_trades(pair) and pair_bulk_ohlc(pair)  the rows of one pair: only its files are opened

-- A file that must not be read is left out of the first, which is for footers; of its pair, and of the rows of all pairs,
-- it is an error.
CREATE OR REPLACE MACRO imported_files(name) AS [
    file for file in getvariable('recorder_' || name || '_files') if NOT ends_with(file, '/dev/null')
];

CREATE OR REPLACE MACRO pair_imported_files(name, pair) AS [
    file for file in getvariable('recorder_' || name || '_files')
    if contains(file, '/pair=' || url_encode(pair) || '/') or ends_with(file, '/schema.parquet')
];

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
