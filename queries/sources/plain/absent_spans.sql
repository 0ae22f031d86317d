-- Which ids need not be held, and why?
--
-- absent_spans()  one row per run of such ids: pair, first_id, last_id, state; no id is in two of them
--
--   state  void      the exchange has twice said that it does not have them
--          disowned  the owner of the archive let them go, whatever the exchange says
--
-- An id that appeared after all is among them, and known_ids() leaves it out.

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM told_absent_spans() AS a;
