-- Which ids belong to one moment of the archive?
--
-- recorder_spans  one row per maximal run of ids, in files and journal together
--
-- The view coverage and the macro pair_coverage() of a connection that recorder.connect() holds to a listing, with
-- the columns and parameters of the plain ones. It fills the table named here.

CREATE OR REPLACE VIEW coverage AS
SELECT pair, first_id, last_id, first_time, last_time, last_id - first_id + 1 AS rows
FROM recorder_spans;

CREATE OR REPLACE MACRO pair_coverage(pair) AS TABLE
SELECT s.pair, s.first_id, s.last_id, s.first_time, s.last_time, s.last_id - s.first_id + 1 AS rows
FROM recorder_spans AS s
WHERE s.pair = pair;
