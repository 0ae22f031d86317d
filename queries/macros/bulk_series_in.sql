-- Which candles of history files do these files hold, and from when to when?
--
-- bulk_series_in(files)   one row per pair, timeframe, member and year, from the footers of a glob or list
-- pair_bulk_series(pair)  those of one pair: only its files are opened
--
-- pair, timeframe, sha256, file     of the member
-- rows, stored, differing           its candles of the year, those that are stored of it, and those that differ from the
--                                   stored ones; the others are equal to candles of other members
-- first_time, end_time              when the first of them begins, and the last one ends

CREATE OR REPLACE MACRO bulk_series_in(files) AS TABLE
WITH
footer AS (
    -- CASE, because a filter may be applied after the cast, which would fail on the value of another key.
    SELECT CASE WHEN key = 'recorder'::BLOB THEN decode(value)::JSON END AS content
    FROM parquet_kv_metadata(files)
),
listed AS (
    SELECT
        f.content ->> 'pair' AS pair,
        from_json(f.content -> '$.history.members', '[{"sha256": "VARCHAR", "name": "VARCHAR"}]') AS members,
        unnest(from_json(f.content -> '$.history.series', '[["VARCHAR"]]')) AS parts
    FROM footer AS f
)
SELECT
    l.pair,
    l.parts[1] AS timeframe,
    l.members[1 + l.parts[2]::INTEGER].sha256 AS sha256,
    l.members[1 + l.parts[2]::INTEGER].name AS file,
    l.parts[3]::BIGINT AS rows,
    l.parts[4]::BIGINT AS stored,
    l.parts[7]::BIGINT AS differing,
    make_timestamptz(l.parts[5]::BIGINT) AS first_time,
    make_timestamptz(l.parts[6]::BIGINT) AS end_time
FROM listed AS l;

CREATE OR REPLACE MACRO pair_bulk_series(pair) AS TABLE
SELECT s.*
FROM bulk_series_in(pair_imported_files('bulk_ohlc', pair)) AS s
WHERE s.pair = pair;
