-- Which ids has the exchange twice said that it does not have, as of one moment of the archive?
--
-- recorder_voids  the rows of told_void_spans() at that moment
--
-- The macro void_spans() of a connection that recorder.connect() holds to a listing, which runs this whenever there
-- are other events than before: every bar asks for these ids, and nearly always there are none.

CREATE OR REPLACE TABLE recorder_voids AS
FROM told_void_spans();

CREATE OR REPLACE MACRO void_spans() AS TABLE
SELECT v.pair, v.first_id, v.last_id
FROM recorder_voids AS v;
