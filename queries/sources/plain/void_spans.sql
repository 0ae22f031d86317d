-- Which ids has the exchange twice said that it does not have?
--
-- void_spans()         one row per run of such ids: pair, first_id, last_id
-- anchored_promises()  the rows of promises() of which it is known which ids were made before: pair, time, after_id
--
-- An id that appeared after all is among them, and known_ids() leaves it out.

CREATE OR REPLACE MACRO void_spans() AS TABLE
SELECT v.pair, v.first_id, v.last_id
FROM told_void_spans() AS v;

CREATE OR REPLACE MACRO anchored_promises() AS TABLE
SELECT p.pair, p.time, p.after_id
FROM promises() AS p
WHERE p.after_id IS NOT NULL;
