-- Which ids are missing, do not exist, cannot be read, or are disowned? Kraken numbers the trades of a pair 1, 2, 3, …
--
-- gaps(pair, first_id, last_id, missing, after_time, before_time, state)
--
-- One row per hole (state open: the ids are still to be fetched), per run of ids that the exchange has twice said it
-- does not have (void), that it twice answered with a row that nobody can read (unreadable), or that the owner of the
-- archive let go (disowned). A hole lies between archived ids, between the promise of a pair and the first one, or
-- wherever ids were certified and have vanished since.
-- after_time and before_time are the times of the trades held next to the ids, or the moment of the promise; NULL where
-- there is neither on that side, which only happens to those that are absent or vanished.

CREATE OR REPLACE VIEW gaps AS
SELECT
    u.pair,
    u.first_id,
    u.last_id,
    u.last_id - u.first_id + 1 AS missing,
    u.after_time,
    u.before_time,
    CASE u.kind WHEN 'missing' THEN 'open' ELSE u.kind END AS state
FROM missing_spans() AS u
WHERE u.kind NOT IN ('before', 'after')
UNION ALL BY NAME
SELECT f.pair
FROM refused_pairs() AS f;
