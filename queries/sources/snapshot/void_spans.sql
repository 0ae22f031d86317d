-- Which ids has the exchange twice said that it does not have, as of one moment of the archive?
--
-- recorder_voids     the rows of told_void_spans() at that moment
-- recorder_anchored  the rows of promises() of which it is known which ids were made before, at that moment
--
-- The macros void_spans() and anchored_promises() of a connection that recorder.connect() holds to a listing, which runs
-- this whenever there are other events than before: every bar asks for these.

CREATE OR REPLACE TABLE recorder_voids AS
FROM told_void_spans();

CREATE OR REPLACE MACRO void_spans() AS TABLE
SELECT v.pair, v.first_id, v.last_id
FROM recorder_voids AS v;

CREATE OR REPLACE TABLE recorder_anchored AS
SELECT p.pair, p.time, p.after_id
FROM promises() AS p
WHERE p.after_id IS NOT NULL;

CREATE OR REPLACE MACRO anchored_promises() AS TABLE
SELECT a.pair, a.time, a.after_id
FROM recorder_anchored AS a;
