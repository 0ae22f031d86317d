-- Which ids are not held between those of one pair, and how many of them may belong to a range of time?
--
-- pair_holes(pair)                    one row per hole: first_id, last_id, missing, after_time, before_time
-- missing_between(pair, start, stop)  one row with the sum missing_trades, over the holes of which a trade may lie at
--                                     or after start and before stop; NULL or left out: open end
--
-- Ids that do not exist (void) are among them; the view gaps tells them apart. Only the footers of this pair's files
-- are read.

CREATE OR REPLACE MACRO pair_holes(pair) AS TABLE
WITH neighbours AS (
    SELECT
        c.last_id + 1 AS first_id,
        lead(c.first_id) OVER (ORDER BY c.first_id) - 1 AS last_id,
        c.last_time AS after_time,
        lead(c.first_time) OVER (ORDER BY c.first_id) AS before_time
    FROM pair_coverage(pair) AS c
)
SELECT
    n.first_id,
    n.last_id,
    n.last_id - n.first_id + 1 AS missing,
    n.after_time,
    n.before_time
FROM neighbours AS n
WHERE n.last_id IS NOT NULL;

CREATE OR REPLACE MACRO missing_between(pair, start := NULL, stop := NULL) AS TABLE
SELECT coalesce(sum(h.missing), 0)::BIGINT AS missing_trades
FROM pair_holes(pair) AS h
WHERE (start IS NULL OR h.before_time >= start::TIMESTAMPTZ)
    AND (stop IS NULL OR h.after_time < stop::TIMESTAMPTZ);
