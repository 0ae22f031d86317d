-- Between which times do all trades of these files lie?
--
-- time_limits_in(files)  one row per row group of a glob or list of files: file, pair, first_time, last_time, by the
--                        statistics in the file's metadata, so that no trade is read. NULL where there are none

CREATE OR REPLACE MACRO time_limits_in(files) AS TABLE
SELECT
    m.file_name AS file,
    url_decode(regexp_extract(m.file_name, '.*/pair=([^/]*)/', 1)) AS pair,
    TRY_CAST(m.stats_min_value AS TIMESTAMPTZ) AS first_time,
    TRY_CAST(m.stats_max_value AS TIMESTAMPTZ) AS last_time
FROM parquet_metadata(files) AS m
WHERE m.path_in_schema = 'time';
