-- Which ids in these files come from history files?
--
-- footer_imported(files)  one row per run of such ids in the footers of a glob or list: pair, first_id, last_id, and
--                         time_digits, how many decimals of a second the times there have at most
--
-- Their rows have the source bulk. See docs/format.md.

CREATE OR REPLACE MACRO footer_imported(files) AS TABLE
WITH
footer AS (
    -- CASE, because a filter may be applied after the cast, which would fail on the value of another key.
    SELECT CASE WHEN key = 'recorder'::BLOB THEN decode(value)::JSON END AS content
    FROM parquet_kv_metadata(files)
),
named AS (
    SELECT f.content ->> 'pair' AS pair, unnest(from_json(f.content -> 'imported', '["BIGINT[]"]')) AS ids
    FROM footer AS f
)
SELECT n.pair, n.ids[1] AS first_id, n.ids[2] AS last_id, n.ids[3] AS time_digits
FROM named AS n;
