-- Which trades are archived? One row per trade; (pair, trade_id) identifies it.
--
-- trades(pair, trade_id, time, price, qty, side, ord_type, misc, source, received)
-- pair_trades(pair, start, stop)  those of one pair: start inclusive, stop exclusive, NULL or left out: open end. Only
--                                 the pair's files are opened. A pair without trades has no rows, except over
--                                 recorder.connect(), where it is an error that names similar pairs.
-- known_pair(pair)                the pair; over recorder.connect() the same error
-- pair_files(pair)                a glob over the pair's files, the table's empty schema file, and the files of pairs
--                                 whose names begin with this one; callers filter by pair, at no extra reading
-- trades_in(files)                the rows of the files of a glob or list
--
-- Set recorder_data to the archive's folder first. While the recorder runs, "cannot open file" means that a compaction
-- has removed the file meanwhile: repeat the query. A compaction within the fraction of a millisecond in which DuckDB
-- lists a year's folder can hide the year from this one query, since DuckDB ignores names that have vanished.
-- recorder.connect() lists files itself and is not affected.

CREATE OR REPLACE MACRO trades_in(files) AS TABLE
SELECT f.pair, f.trade_id, f.time, f.price, f.qty, f.side, f.ord_type, f.misc, f.source, f.received
FROM read_parquet(
    files,
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
) AS f;

CREATE OR REPLACE MACRO sound_trades() AS TABLE
FROM trades_in(getvariable('recorder_data') || '/trades/*/*/*.parquet');

CREATE OR REPLACE MACRO refused_pairs() AS TABLE
SELECT NULL::VARCHAR AS pair WHERE false;

CREATE OR REPLACE VIEW trades AS
FROM trades_in(getvariable('recorder_data') || '/trades/*/*/*.parquet');

-- A glob that matches nothing is an error in DuckDB, but a pair without trades is not an error. So the folder's name is
-- matched letter by letter with that of the empty partition: BTC%2FUSD becomes [B_][T_][Cn][%o][2n][Fe][U_][S_]*.
CREATE OR REPLACE MACRO pair_files(pair) AS
    getvariable('recorder_data') || '/trades/pair='
    || array_to_string([
        '[' || url_encode(pair)[i] || '__none__'[i] || ']'
        for i in range(1, least(length(url_encode(pair)), length('__none__')) + 1)
    ], '')
    || '*/*/*.parquet';

CREATE OR REPLACE MACRO known_pair(pair) AS pair;

CREATE OR REPLACE MACRO pair_trades(pair, start := NULL, stop := NULL) AS TABLE
FROM trades_in(pair_files(pair)) AS t
WHERE t.pair = pair
    AND (start IS NULL OR t.time >= utc_moment(start))
    AND (stop IS NULL OR t.time < utc_moment(stop));
