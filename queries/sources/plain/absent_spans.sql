-- Which ids are absent, and why? And after which ids do the promises begin?
--
-- absent_spans()       one row per run of such ids: pair, first_id, last_id, state; no id is in two of them
-- anchored_promises()  the rows of promises() of which it is known which ids were made before: pair, time, after_id
--
--   state  void        the exchange has twice said that it does not have them
--          unreadable  the exchange has twice answered with a row that nobody can read: they are lacking all the same
--          disowned    the owner of the archive let them go, whatever the exchange says
--
-- An id that appeared after all is among them, and known_ids() leaves it out.

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM told_absent_spans() AS a;

CREATE OR REPLACE MACRO anchored_promises() AS TABLE
SELECT p.pair, p.time, p.after_id
FROM promises() AS p
WHERE p.after_id IS NOT NULL;
