-- Which ids need not be stored, and why, in a snapshot of the archive?
--
-- recorder_absent  the rows of event_absent_spans() in the snapshot
-- recorder_noted   the rows of event_promises() in the snapshot
--
-- The macros absent_spans() and known_promises() of a connection that recorder.connect() pins to a listing. It runs
-- this whenever the events have changed: every bar needs these rows, and nearly always there are none.

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
