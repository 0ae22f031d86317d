-- Which ids need not be held, and why, as of one moment of the archive?
--
-- recorder_absent  the rows of told_absent_spans() at that moment
--
-- The macro absent_spans() of a connection that recorder.connect() holds to a listing, which runs this whenever there
-- are other events than before: every bar asks for these ids, and nearly always there are none.

CREATE OR REPLACE TABLE recorder_absent AS
FROM told_absent_spans();

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM recorder_absent AS a;
