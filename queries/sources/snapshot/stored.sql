-- Which rows of the table $table, which has no ids, belong to a snapshot of the archive?
--
-- recorder_${table}_files      files whose rows all belong to the snapshot, and the table's empty schema file
-- recorder_${table}_cut_files  files that also have later rows, which happens when a compaction runs after the snapshot
--                             was taken; and the schema file
-- recorder_${table}_tail       the rows that were only in the journal
--
-- The macro stored_$table() of a connection that recorder.connect() pins to a listing, with the columns of the plain
-- one. It sets the variables, and fills the table named here from recorder_archived_$table(), the rows in files. A
-- template, filled for each table without ids from its entry in the registry.

CREATE OR REPLACE MACRO recorder_archived_$table() AS TABLE
SELECT
    $columns
FROM (
    FROM read_parquet(
        getvariable('recorder_${table}_files')$hive
    )
    UNION ALL
    SELECT * EXCLUDE (filename)
    FROM read_parquet(
        getvariable('recorder_${table}_cut_files')$hive,
        filename = true
    )
    WHERE recorder_at_moment(filename, $stamp)
) AS f;

CREATE OR REPLACE MACRO stored_$table() AS TABLE
FROM recorder_archived_$table()
UNION ALL
FROM recorder_${table}_tail;
