-- Which days of trades without ids do these files hold, and what was decided about each?
--
-- bulk_days_in(files)   the rows of the view bulk_days, from the footers of a glob or list
-- pair_bulk_days(pair)  those of one pair: only its files are opened

CREATE OR REPLACE MACRO bulk_days_in(files) AS TABLE
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
        unnest(from_json(f.content -> '$.history.days', '[["JSON"]]')) AS parts
    FROM footer AS f
),
days AS (
    SELECT
        l.pair,
        '1970-01-01'::DATE + l.parts[1]::INTEGER AS day,
        l.members[1 + l.parts[2]::INTEGER] AS source,
        l.parts[3]::BIGINT AS first_row,
        l.parts[4]::BIGINT AS last_row,
        l.parts[5]::BIGINT AS rows,
        make_timestamptz(l.parts[6]::BIGINT) AS covered_from,
        make_timestamptz(l.parts[7]::BIGINT) AS covered_until,
        json_array_length(l.parts[8])::BIGINT AS equal,
        json_array_length(l.parts[9])::BIGINT AS differing
    FROM listed AS l
)
SELECT
    d.pair,
    d.day,
    d.rows,
    d.covered_from > day_start(d.day) OR d.covered_until < day_start(d.day + 1) AS partial,
    d.covered_from,
    d.covered_until,
    d.source.sha256 AS sha256,
    d.source.name AS file,
    d.first_row,
    d.last_row,
    d.equal,
    d.differing
FROM days AS d;

CREATE OR REPLACE MACRO pair_bulk_days(pair) AS TABLE
SELECT d.*
FROM bulk_days_in(pair_imported_files('bulk_trades', pair)) AS d
WHERE d.pair = pair;
