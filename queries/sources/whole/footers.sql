-- Where is it said which ids belong to one moment of the archive, where recorder.connect() has read all footers?
--
-- The macros coverage_in() and promises_in() of a connection that recorder.connect() holds to a listing, in place of
-- those that also read footers: to read that of the table's empty schema file alone takes as long as a short answer.

CREATE OR REPLACE MACRO coverage_in(files) AS TABLE
SELECT s.pair, s.first_id, s.last_id, s.first_time, s.last_time, s.last_id - s.first_id + 1 AS rows
FROM recorder_spans AS s;

CREATE OR REPLACE MACRO promises_in(files) AS TABLE
SELECT p.pair, p.time_us, p.after_id, p.assumed
FROM recorder_promises AS p;
