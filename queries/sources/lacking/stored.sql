-- Which rows are in the table $table? None: an earlier release recorded this archive, and left no folder for it.
--
-- In the script of `recorder views`, in place of the macro that reads the table's files, which would fail without any.
-- Once `recorder run` has made the table, print the script again. A template like those of other sources.

CREATE OR REPLACE MACRO stored_$table() AS TABLE
SELECT
    $nothing
WHERE false;
