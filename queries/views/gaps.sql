-- Which ids are missing between those archived, and which do not exist? Kraken numbers the trades of a pair 1, 2, 3, …
--
-- gaps(pair, first_id, last_id, missing, after_time, before_time, state)
--
-- One row per hole (state open: the ids are still to be fetched) and per run of ids that the exchange has twice said
-- it does not have (state void). after_time and before_time are the times of the trades held next to them; NULL where
-- none is held on that side, which only happens to void ids.

CREATE OR REPLACE VIEW gaps AS
SELECT
    u.pair,
    u.first_id,
    u.last_id,
    u.last_id - u.first_id + 1 AS missing,
    u.after_time,
    u.before_time,
    CASE u.kind WHEN 'void' THEN 'void' ELSE 'open' END AS state
FROM unheld_spans() AS u
WHERE u.kind IN ('missing', 'void');
