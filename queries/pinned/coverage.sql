-- Which ids belong to one moment of the archive?
--
-- recorder_spans   one row per maximal run of ids, as far as recorder.connect() has read footers
-- recorder_unread  the files whose footers are still to be read, and the table's empty schema file
--
-- The view coverage and the macro pair_coverage() of a connection that recorder.connect() holds to a listing, with
-- the columns and parameters of the plain ones. It sets the variable and fills the table named here; what it has read
-- also counts the journal, where that was asked for.

CREATE OR REPLACE MACRO pinned_coverage(unread) AS TABLE
SELECT s.pair, s.first_id, s.last_id, s.first_time, s.last_time, s.last_id - s.first_id + 1 AS rows
FROM recorder_spans AS s
UNION ALL
SELECT h.pair, h.first_id, h.last_id, h.first_time, h.last_time, h.rows
FROM held_spans(unread) AS h;

CREATE OR REPLACE VIEW coverage AS
FROM pinned_coverage(getvariable('recorder_unread'));

CREATE OR REPLACE MACRO pair_coverage(pair) AS TABLE
SELECT c.pair, c.first_id, c.last_id, c.first_time, c.last_time, c.rows
FROM pinned_coverage(pinned_files('recorder_unread', pair)) AS c
WHERE c.pair = pair;
