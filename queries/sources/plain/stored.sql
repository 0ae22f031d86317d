-- Which rows are in the table $table, which has no ids, one for each time that something was recorded?
--
-- stored_$table()  every column of the table, and its partition columns
--
-- A template, filled for each table without ids from its entry in the registry. The table's views are built on this:
-- they show the current versions, this shows every version that was ever recorded.
--
-- Columns are named with their table, here and in all that reads a table: within a macro that has a parameter of the
-- same name, DuckDB takes a bare column for the parameter.

CREATE OR REPLACE MACRO stored_$table() AS TABLE
SELECT
    $columns
FROM read_parquet(
    getvariable('recorder_data') || '/$glob'$hive
) AS f;
