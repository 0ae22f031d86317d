-- Which ids need not be held, and why, as of one moment of the archive?
--
-- recorder_absent    the rows of told_absent_spans() at that moment
-- recorder_anchored  the rows of promises() of which it is known which ids were made before, at that moment
--
-- The macros absent_spans() and anchored_promises() of a connection that recorder.connect() holds to a listing, which
-- runs this whenever there are other events than before: every bar asks for these, and nearly always there are none.

CREATE OR REPLACE TABLE recorder_absent AS
FROM told_absent_spans();

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM recorder_absent AS a;

CREATE OR REPLACE TABLE recorder_anchored AS
SELECT p.pair, p.time, p.after_id
FROM promises() AS p
WHERE p.after_id IS NOT NULL;

CREATE OR REPLACE MACRO anchored_promises() AS TABLE
SELECT a.pair, a.time, a.after_id
FROM recorder_anchored AS a;
