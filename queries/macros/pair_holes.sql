-- Which ids may exist and are not held between those of one pair, and how many of them may belong to a range of time?
--
-- pair_holes(pair)                    one row per hole: first_id, last_id, missing, after_time, before_time
-- missing_between(pair, start, stop)  one row with the sum missing_trades, over the holes of which a trade may lie at
--                                     or after start and before stop; NULL or left out: open end
--
-- Ids that do not exist (void), or are disowned, are not among them: the rows of the view gaps that are open and lie between archived
-- ids, but only this pair's files are opened. What is missing between the promise and the first trade is not counted.

CREATE OR REPLACE MACRO pair_holes(pair) AS TABLE
SELECT
    u.first_id,
    u.last_id,
    u.last_id - u.first_id + 1 AS missing,
    u.after_time,
    u.before_time
FROM pair_unknown_ids(pair) AS u
WHERE u.after_time IS NOT NULL AND u.before_time IS NOT NULL;

CREATE OR REPLACE MACRO missing_between(pair, start := NULL, stop := NULL) AS TABLE
SELECT coalesce(sum(h.missing), 0)::BIGINT AS missing_trades
FROM pair_holes(pair) AS h
WHERE (start IS NULL OR h.before_time >= start::TIMESTAMPTZ)
    AND (stop IS NULL OR h.after_time < stop::TIMESTAMPTZ);
