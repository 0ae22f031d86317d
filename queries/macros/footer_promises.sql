-- Which promises of their pairs do these files record?
--
-- footer_promises(files)  one row per pair and promise in the footers of a glob or list: pair, time_us, after_id,
--                         assumed
--
-- A file contains the promise of its pair at the time it was written (docs/format.md), so that a folder copied into
-- another archive keeps it. promises() combines these with the events.

CREATE OR REPLACE MACRO footer_promises(files) AS TABLE
WITH
footer AS (
    -- CASE, because a filter may be applied after the cast, which would fail on the value of another key.
    SELECT CASE WHEN key = 'recorder'::BLOB THEN decode(value)::JSON END AS content
    FROM parquet_kv_metadata(files)
)
SELECT DISTINCT
    content ->> 'pair' AS pair,
    (content ->> '$.promise.time_us')::BIGINT AS time_us,
    (content ->> '$.promise.after_id')::BIGINT AS after_id,
    (content ->> '$.promise.assumed')::BOOLEAN AS assumed
FROM footer
WHERE content ->> '$.promise.time_us' IS NOT NULL;
