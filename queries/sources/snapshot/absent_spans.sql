-- Which ids need not be held, and why, as of one moment of the archive?
--
-- recorder_absent  the rows of event_absent_spans() at that moment
-- recorder_noted   the rows of event_promises() at that moment
--
-- The macros absent_spans() and known_promises() of a connection that recorder.connect() holds to a listing, which
-- runs this whenever there are other events than before: every bar asks for these, and nearly always there are none.

CREATE OR REPLACE TABLE recorder_absent AS
FROM event_absent_spans();

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM recorder_absent AS a;

CREATE OR REPLACE TABLE recorder_noted AS
FROM event_promises();

CREATE OR REPLACE MACRO known_promises() AS TABLE
SELECT n.pair, n.kind, n.time_us, n.after_id, n.assumed
FROM recorder_noted AS n;
