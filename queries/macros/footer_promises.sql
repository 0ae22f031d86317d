-- What do these files say is promised of their pairs?
--
-- footer_promises(files)  one row per pair and promise in the footers of a glob or list: pair, time_us, after_id, assumed
--
-- A file carries what was promised of its pair when it was written (docs/format.md), so that a folder that is copied
-- into another archive keeps it. promises() puts them together with what the events tell.

CREATE OR REPLACE MACRO footer_promises(files) AS TABLE
WITH
footer AS (
    -- CASE, because a filter may come after the cast, which the value of a foreign key would fail.
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
