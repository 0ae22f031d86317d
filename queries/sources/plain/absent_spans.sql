-- Which ids are absent, and why? And which events record promises?
--
-- absent_spans()    one row per run of absent ids: pair, first_id, last_id, state; no id is in two of them
-- known_promises()  the rows of event_promises()
--
--   state  void        the exchange has reported twice that it does not have them
--          unreadable  the exchange has returned them twice with a row that cannot be parsed: they are still missing
--          disowned    the archive's owner has disowned them, whatever the exchange reports
--
-- An id that appeared after all is still included here; known_ids() leaves it out.

CREATE OR REPLACE MACRO absent_spans() AS TABLE
SELECT a.pair, a.first_id, a.last_id, a.state
FROM event_absent_spans() AS a;

CREATE OR REPLACE MACRO known_promises() AS TABLE
SELECT p.pair, p.kind, p.time_us, p.after_id, p.assumed
FROM event_promises() AS p;
