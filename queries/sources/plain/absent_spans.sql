-- Which ids are absent, and why? And what do events tell of promises?
--
-- absent_spans()    one row per run of such ids: pair, first_id, last_id, state; no id is in two of them
-- known_promises()  the rows of event_promises()
--
--   state  void        the exchange has twice said that it does not have them
--          unreadable  the exchange has twice answered with a row that nobody can read: they are lacking all the same
--          disowned    the owner of the archive let them go, whatever the exchange says
--
-- An id that appeared after all is among them, and known_ids() leaves it out.

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM event_absent_spans() AS a;

CREATE OR REPLACE MACRO known_promises() AS TABLE
SELECT p.pair, p.kind, p.time_us, p.after_id, p.assumed
FROM event_promises() AS p;
