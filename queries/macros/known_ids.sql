-- Which ids are known to be stored or absent, and which are unknown?
--
-- known_ids(files)     one row per run of ids that are all stored, or all absent: pair, first_id, last_id, first_time,
--                      last_time, is_held; times are NULL for absent ones. An anchored promise is a row without ids
--                      (last_id is the anchor, first_id the next) with its time, unless ids on both sides are stored
-- known_runs(files)    one row per run of ids that are each stored or absent, with the stored ones in it: pair,
--                      first_id, last_id, first_held, last_held, after, last_time. No trade of the run is missing that
--                      was made later than after ('-infinity' if the run begins with id 1) and before last_time.
-- unknown_ids(files)   one row per run of ids that are neither: pair, first_id, last_id, after_id and before_id (the
--                      stored ids next to them), after_time and before_time (their times); NULL if none is stored on
--                      that side. The last run of a pair ends with the highest possible number.
-- pair_known_runs(pair) and pair_unknown_ids(pair) are those of one pair: only its files are opened.
--
-- Every statement about missing trades is built on these: the views gaps and certificates, and the columns complete and
-- missing_trades of bars. Stored takes precedence over absent, which is void or disowned here: an unreadable id has a
-- trade, which is missing. A time at which no trade can have been made, before 2011 or more than a year in the future,
-- is not used as a limit: it is replaced by that of the other end of its run, or by NULL.

-- ordinary_time(moment, otherwise): the time, or otherwise if no trade can have been made then
CREATE OR REPLACE MACRO ordinary_time(moment, otherwise) AS CASE
    WHEN moment BETWEEN '2011-01-01 00:00:00+00'::TIMESTAMPTZ AND now() + INTERVAL 366 DAY THEN moment
    ELSE otherwise
END;

CREATE OR REPLACE MACRO known_ids(files) AS TABLE
WITH
held AS (
    SELECT
        c.pair,
        c.first_id,
        c.last_id,
        ordinary_time(c.first_time, ordinary_time(c.last_time, NULL)) AS first_time,
        ordinary_time(c.last_time, ordinary_time(c.first_time, NULL)) AS last_time
    FROM coverage_in(files) AS c
),
unheld AS (
    SELECT h.pair, 1 + coalesce(lag(h.last_id) OVER ids, 0) AS first_id, h.first_id - 1 AS last_id
    FROM held AS h
    WINDOW ids AS (PARTITION BY h.pair ORDER BY h.first_id)
    UNION ALL
    SELECT h.pair, max(h.last_id) + 1, 9223372036854775807
    FROM held AS h
    GROUP BY h.pair
)
SELECT h.pair, h.first_id, h.last_id, h.first_time, h.last_time, true AS is_held
FROM held AS h
UNION ALL
SELECT p.pair, p.after_id + 1, p.after_id, p.time, p.time, false
FROM anchored_promises(files) AS p
SEMI JOIN held AS h
    ON p.pair = h.pair
ANTI JOIN held AS b
    ON p.pair = b.pair AND b.first_id <= p.after_id AND b.last_id > p.after_id
UNION ALL
SELECT u.pair, greatest(u.first_id, v.first_id), least(u.last_id, v.last_id), NULL, NULL, false
FROM unheld AS u
JOIN absent_spans() AS v
    ON u.pair = v.pair AND v.first_id <= u.last_id AND v.last_id >= u.first_id
WHERE v.state <> 'unreadable';

CREATE OR REPLACE MACRO known_runs(files) AS TABLE
WITH
marked AS (
    SELECT k.*, k.first_id > 1 + lag(k.last_id) OVER (PARTITION BY k.pair ORDER BY k.first_id, k.last_id) AS begins
    FROM known_ids(files) AS k
),
numbered AS (
    SELECT m.*, count(*) FILTER (m.begins) OVER (PARTITION BY m.pair ORDER BY m.first_id, m.last_id) AS run
    FROM marked AS m
)
SELECT
    n.pair,
    min(n.first_id) AS first_id,
    max(n.last_id) AS last_id,
    min(n.first_id) FILTER (n.is_held) AS first_held,
    max(n.last_id) FILTER (n.is_held) AS last_held,
    CASE WHEN min(n.first_id) = 1 THEN '-infinity'::TIMESTAMPTZ ELSE arg_min(n.first_time, n.last_id) END AS after,
    arg_max(n.last_time, n.last_id) AS last_time
FROM numbered AS n
GROUP BY n.pair, n.run
HAVING bool_or(n.is_held);

CREATE OR REPLACE MACRO unknown_ids(files) AS TABLE
WITH
known AS (
    FROM known_ids(files)
),
unknown AS (
    SELECT
        k.pair,
        1 + coalesce(lag(k.last_id) OVER ids, 0) AS first_id,
        k.first_id - 1 AS last_id,
        max(k.last_id) FILTER (k.is_held) OVER below AS after_id,
        min(k.first_id) FILTER (k.is_held) OVER above AS before_id,
        last_value(k.last_time IGNORE NULLS) OVER below AS after_time,
        first_value(k.first_time IGNORE NULLS) OVER above AS before_time
    FROM known AS k
    WINDOW
        ids AS (PARTITION BY k.pair ORDER BY k.first_id, k.last_id),
        below AS (
            PARTITION BY k.pair ORDER BY k.first_id, k.last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ),
        above AS (
            PARTITION BY k.pair ORDER BY k.first_id, k.last_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        )
    UNION ALL
    SELECT
        k.pair,
        max(k.last_id) + 1,
        9223372036854775807,
        max(k.last_id) FILTER (k.is_held),
        NULL,
        arg_max(k.last_time, k.last_id),
        NULL
    FROM known AS k
    GROUP BY k.pair
)
FROM unknown
WHERE first_id <= last_id;

CREATE OR REPLACE MACRO pair_known_runs(pair) AS TABLE
SELECT r.first_id, r.last_id, r.first_held, r.last_held, r.after, r.last_time
FROM known_runs(pair_footers(known_pair(pair))) AS r
WHERE r.pair = pair;

CREATE OR REPLACE MACRO pair_unknown_ids(pair) AS TABLE
SELECT u.first_id, u.last_id, u.after_id, u.before_id, u.after_time, u.before_time
FROM unknown_ids(pair_footers(known_pair(pair))) AS u
WHERE u.pair = pair;
