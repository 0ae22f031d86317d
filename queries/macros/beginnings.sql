-- From when on is anything held or promised of a pair, if it was traded before?
--
-- beginnings(files)  one row per pair of which ids below all that is held or promised are not known: pair, time, first_id
-- pair_begins(pair)  the row of one pair, if there is one: time, first_id; only its files are opened
--
--   time      the moment of the promise, or of the lowest trade held where that is below it; first_id is the first id from
--             then on
--
-- What was traded before is not missing: nobody promised it. A range that begins before time has nothing of it. A pair
-- that is known from id 1 on has no row.

CREATE OR REPLACE MACRO beginnings(files) AS TABLE
SELECT u.pair, max(u.before_time) AS time, max(u.last_id) + 1 AS first_id
FROM unknown_ids(files) AS u
WHERE u.after_id IS NULL AND u.after_time IS NULL AND u.before_time IS NOT NULL
GROUP BY u.pair;

CREATE OR REPLACE MACRO pair_begins(pair) AS TABLE
SELECT b.time, b.first_id
FROM beginnings(pair_footers(known_pair(pair))) AS b
WHERE b.pair = pair;
