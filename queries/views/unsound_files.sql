-- Which files duplicate others or are where they do not belong? None, unless files were moved or copied by hand.
--
-- unsound_files(file, problem)
--
-- Plain globs trust folder names: they would count such rows twice, or for another pair. recorder.connect() checks this
-- before each query; other readers of the folder should query this view first. Reads only footers, no rows, except
-- whole files of tables whose rows have a key of their own, as listings: a segment may bring several files of these, so
-- that footers do not reveal copies. `recorder verify` finds more: it reads everything.

CREATE OR REPLACE VIEW unsound_files AS
WITH
footer AS (
    -- CASE, because a filter may be applied after the cast, which would fail on the value of another key.
    SELECT
        file_name AS file,
        string_split(file_name, '/') AS parts,
        parts[-3] AS partition,
        string_split(parts[-2], '=')[2] AS period,
        CASE WHEN key = 'recorder'::BLOB THEN decode(value)::JSON END AS content
    FROM parquet_kv_metadata(getvariable('recorder_globs'))
    WHERE parts[-1] != 'schema.parquet'
),
placed AS (
    SELECT
        file,
        partition,
        period,
        content ->> 'table' AS holds,
        -- The last folder that is no partition.
        regexp_extract(file, '([^/=]+)(/[^/=]+=[^/]*)*/[^/]+$', 1) AS lies_among,
        'pair=' || url_encode(content ->> 'pair') AS belongs_in,
        from_json(content -> 'spans', '["BIGINT[]"]') AS spans,
        from_json(content -> 'segments', '["JSON"]') AS segments,
        (content -> 'history') IS NOT NULL AS is_imported
    FROM footer
    WHERE content IS NOT NULL
),
held AS (
    SELECT file, belongs_in, period, unnest(spans) AS span
    FROM placed
    WHERE holds = 'trades'
),
reached AS (
    SELECT
        file,
        span[1] AS first_id,
        max({'last_id': span[2], 'file': file}) OVER (
            PARTITION BY belongs_in ORDER BY span[1], file ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
    FROM held
),
-- A folder of an imported table has one file.
beside AS (
    SELECT file, min(file) OVER (PARTITION BY parse_dirpath(file)) AS other
    FROM placed
    WHERE is_imported
),
listed AS (
    SELECT filename AS file, min(filename) OVER (PARTITION BY md5(content)) AS other
    FROM read_blob(getvariable('recorder_keyed_globs'))
),
journalled AS (
    SELECT file, unnest(segments) AS named
    FROM placed ANTI JOIN listed USING (file)
),
brought AS (
    -- In files of version 1 a segment is a bare number, of the main journal, and 0 is no segment.
    SELECT
        file,
        concat_ws('/', named ->> 'archive', coalesce(named ->> 'journal', 'journal')) AS journal,
        unnest(coalesce(from_json(named -> 'numbers', '["BIGINT"]'), [TRY_CAST(named AS BIGINT)])) AS number
    FROM journalled
),
again AS (
    SELECT
        file,
        format('{}/{}', journal, number) AS segment,
        min(file) OVER (PARTITION BY parse_dirpath(file), journal, number) AS other
    FROM brought
    WHERE number > 0
)
SELECT file, format('holds {}, and lies among {}', holds, lies_among) AS problem
FROM placed
WHERE holds != lies_among
UNION ALL
SELECT file, format('belongs in {}, and lies in {}', belongs_in, partition)
FROM placed
WHERE holds = lies_among AND belongs_in != partition
UNION ALL
SELECT DISTINCT file, format('holds a row of another year, and lies in year={}', period)
FROM held
WHERE period != year(make_timestamp(span[3]))::VARCHAR OR period != year(make_timestamp(span[4]))::VARCHAR
UNION ALL
SELECT file, format('holds id {} as {} does', min(first_id), before.file)
FROM reached
WHERE first_id <= before.last_id
GROUP BY file, before.file
UNION ALL
SELECT file, format('holds segment {} as {} does', min(segment), other)
FROM again
WHERE file != other
GROUP BY file, other
UNION ALL
SELECT file, format('lies beside {}, and may hold rows of the same days', other)
FROM beside
WHERE file != other
UNION ALL
SELECT file, format('is a copy of {}', other)
FROM listed
WHERE file != other;
