-- When does the stored or promised history of a pair begin, if it was traded before?
--
-- beginnings(files)  one row per pair with unknown ids below everything stored or promised: pair, time, first_id
-- pair_begins(pair)  the row of one pair, if there is one: time, first_id; only its files are opened
--
--   time      the time of the promise, or of the lowest stored trade if that is below it; first_id is the first id from
--             then on
--
-- Earlier trades are not missing, since they were never promised. A range that begins before time has none of them. A
-- pair whose ids are known from 1 on has no row.

CREATE OR REPLACE MACRO beginnings(files) AS TABLE
SELECT u.pair, max(u.before_time) AS time, max(u.last_id) + 1 AS first_id
FROM unknown_ids(files) AS u
WHERE u.after_id IS NULL AND u.after_time IS NULL AND u.before_time IS NOT NULL
GROUP BY u.pair;

CREATE OR REPLACE MACRO pair_begins(pair) AS TABLE
SELECT b.time, b.first_id
FROM beginnings(pair_footers(known_pair(pair))) AS b
WHERE b.pair = pair;
