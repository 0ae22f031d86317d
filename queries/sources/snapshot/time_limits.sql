-- Between which times do all trades of a snapshot of the archive lie?
--
-- recorder_time_limits  the rows of time_limits_in() for files of this snapshot or an earlier one
--
-- The macro time_limits() of a connection that recorder.connect() pins to a listing. It adds the files of a snapshot
-- before a query that uses the macro, each once: reading 3,000 of them takes half a second.

CREATE OR REPLACE TABLE recorder_time_limits AS
FROM time_limits_in(getvariable('recorder_files'));

-- Files with rows that came later may give wider limits.
CREATE OR REPLACE MACRO time_limits() AS TABLE
SELECT l.file, l.pair, l.first_time, l.last_time
FROM recorder_time_limits AS l
SEMI JOIN (SELECT unnest(getvariable('recorder_files') || getvariable('recorder_cut_files')) AS file) AS f
    ON l.file = f.file
UNION ALL
SELECT NULL, t.pair, min(t.time), max(t.time)
FROM recorder_tail AS t
GROUP BY t.pair;
