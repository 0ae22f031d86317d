-- Which ids are missing, do not exist, cannot be read, or are disowned? Kraken numbers a pair's trades 1, 2, 3, …
--
-- gaps(pair, first_id, last_id, missing, after_time, before_time, state)
--
-- One row per run of ids that are missing and still to be fetched (state open), that the exchange has reported twice as
-- not existing (void), that it returned twice with a row that cannot be parsed (unreadable), or that the archive's
-- owner has disowned (disowned). Open ids are between archived ids, between the promise of a pair and its first
-- archived id, or were certified anywhere and have vanished since. after_time and before_time are the times of the
-- stored trades next to the ids, or the time of the promise; NULL if that side has neither, which only happens to
-- absent or vanished ids.

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
