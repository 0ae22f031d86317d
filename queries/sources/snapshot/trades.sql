-- Which trades belong to a snapshot of the archive?
--
-- recorder_files      files whose rows all belong to the snapshot, and the table's empty schema file
-- recorder_cut_files  files that also have later rows, which happens when a compaction runs after the snapshot was
--                     taken; and the schema file
-- recorder_archived   the ids that were in files when the snapshot was taken
-- recorder_tail       the rows that were only in the journal, with the columns of trades
-- recorder_pairs      the pairs that have trades
--
-- The view trades and the macros sound_trades(), refused_pairs() and pair_trades() of a connection that
-- recorder.connect() pins to a listing, with the columns and parameters of the plain ones, except that a pair without
-- trades is an error if others have some. It sets the variables and fills the tables named here.

CREATE OR REPLACE MACRO trades_in(files, cut_files) AS TABLE
SELECT f.pair, f.trade_id, f.time, f.price, f.qty, f.side, f.ord_type, f.misc, f.source, f.received
FROM (
    FROM read_parquet(
        files,
        hive_partitioning = true,
        hive_types = {'pair': VARCHAR, 'year': BIGINT},
        hive_types_autocast = false
    )
    UNION ALL
    SELECT t.*
    FROM read_parquet(
        cut_files,
        hive_partitioning = true,
        hive_types = {'pair': VARCHAR, 'year': BIGINT},
        hive_types_autocast = false
    ) AS t
    ASOF JOIN recorder_archived AS a ON t.pair = a.pair AND t.trade_id >= a.first_id
    WHERE t.trade_id <= a.last_id
) AS f
UNION ALL
FROM recorder_tail;

CREATE OR REPLACE VIEW trades AS
FROM trades_in(getvariable('recorder_files'), getvariable('recorder_cut_files'));

CREATE OR REPLACE MACRO sound_trades() AS TABLE
FROM trades_in(
    [file for file in getvariable('recorder_files') if NOT ends_with(file, '/dev/null')],
    getvariable('recorder_cut_files')
);

-- Files that must not be read are replaced by paths that do not exist, so that querying their pairs is an error.
CREATE OR REPLACE MACRO refused_pairs() AS TABLE
SELECT f.pair
FROM read_parquet(
    [getvariable('recorder_unread')[-1]]
    || [file for file in getvariable('recorder_unread') if ends_with(file, '/dev/null')],
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
) AS f;

CREATE OR REPLACE MACRO pair_files(files, pair) AS [
    file for file in getvariable(files)
    if contains(file, '/pair=' || url_encode(pair) || '/') or ends_with(file, '/schema.parquet')
];

CREATE OR REPLACE MACRO known_pair(pair) AS CASE
    WHEN list_contains(getvariable('recorder_pairs'), pair) OR len(getvariable('recorder_pairs')) = 0 THEN pair
    ELSE error('the archive holds no trades of ' || coalesce('''' || pair || '''', 'NULL'))
END;

CREATE OR REPLACE MACRO pair_trades(pair, start := NULL, stop := NULL) AS TABLE
FROM trades_in(pair_files('recorder_files', known_pair(pair)), pair_files('recorder_cut_files', pair)) AS t
WHERE t.pair = pair
    AND (start IS NULL OR t.time >= utc_moment(start))
    AND (stop IS NULL OR t.time < utc_moment(stop));
