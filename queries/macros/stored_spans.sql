-- Which unbroken runs of ids do these files contain?
--
-- stored_spans(files)  one row per maximal run over all files of a glob or list, from their footers alone, with the
--                      columns of the view coverage
--
-- A footer lists the runs of ids in its own file (docs/format.md). A run may continue in another file, so adjacent runs
-- are joined: a run begins where its first id is beyond the successor of every id before it. A file of a later schema
-- version than recorder_schema is an error.

CREATE OR REPLACE MACRO stored_spans(files) AS TABLE
WITH
footer AS (
    -- CASE, because a filter may be applied after the cast, which would fail on the value of another key.
    SELECT file_name, CASE WHEN key = 'recorder'::BLOB THEN decode(value)::JSON END AS content
    FROM parquet_kv_metadata(files)
),
held AS (
    SELECT
        CASE WHEN (content ->> 'schema')::INTEGER > getvariable('recorder_schema') THEN error(format(
            '{} has schema version {}, and this release reads version {}: upgrade the recorder to the release that '
            || 'wrote it ({}) or a later one',
            file_name, content ->> 'schema', getvariable('recorder_schema'), content ->> 'writer'
        )) ELSE content ->> 'pair' END AS pair,
        unnest(from_json(content -> 'spans', '["BIGINT[]"]')) AS span
    FROM footer
),
marked AS (
    SELECT
        h.pair,
        h.span,
        h.span[1] > 1 + max(h.span[2]) OVER (
            PARTITION BY h.pair ORDER BY h.span[1] ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS begins
    FROM held AS h
),
numbered AS (
    SELECT m.pair, m.span, count(*) FILTER (m.begins) OVER (PARTITION BY m.pair ORDER BY m.span[1]) AS run
    FROM marked AS m
)
SELECT
    n.pair,
    min(n.span[1]) AS first_id,
    max(n.span[2]) AS last_id,
    make_timestamptz(arg_min(n.span[3], n.span[1])) AS first_time,
    make_timestamptz(arg_max(n.span[4], n.span[2])) AS last_time,
    max(n.span[2]) - min(n.span[1]) + 1 AS rows
FROM numbered AS n
GROUP BY n.pair, n.run;
