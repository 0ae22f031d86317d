-- Which rows stand in the table $table, which has no ids, one for each time that something was noted?
--
-- stored_$table()  every column of the table, and what parts it into folders
--
-- A form, filled for each table without ids from its entry in the registry. The table's views are made of this: they
-- show what holds, and this every version that was ever noted.

CREATE OR REPLACE MACRO stored_$table() AS TABLE
SELECT
    $columns
FROM read_parquet(
    getvariable('recorder_data') || '/$glob'$hive
);
