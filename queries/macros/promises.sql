-- From when on is every trade of a pair promised?
--
-- promises()                one row per pair whose promise is recorded in events or in footers of files: pair, time,
--                           after_id, assumed
-- promises_of(files)        the same, from the events and the footers of these files
-- anchored_promises(files)  those whose after_id is known: pair, time, after_id
--
--   time      the earliest time recorded: every trade from it on should be stored
--   after_id  the highest id made before it, 0 if there is none; NULL until it is known. An anchor that was found for a
--             later time does not count; of several, the lowest counts
--   assumed   whether no beginning was requested, so that the lowest stored trade is used

CREATE OR REPLACE MACRO promises_of(files) AS TABLE
WITH
told AS (
    SELECT n.pair, n.kind, n.time_us, n.after_id, n.assumed
    FROM known_promises() AS n
    UNION ALL
    SELECT p.pair, unnest(['promised', 'anchored']), p.time_us, p.after_id, p.assumed
    FROM promises_in(files) AS p
),
earliest AS (
    SELECT t.pair, min(t.time_us) AS time_us
    FROM told AS t
    WHERE t.kind = 'promised' AND t.time_us BETWEEN 0 AND 253402300799999999
    GROUP BY t.pair
),
anchored AS (
    SELECT e.pair, min({'after_id': t.after_id, 'assumed': t.assumed}) AS anchor
    FROM earliest AS e
    JOIN told AS t
        ON e.pair = t.pair
    WHERE t.kind = 'anchored' AND t.time_us BETWEEN 0 AND e.time_us AND t.after_id >= 0 AND t.assumed IS NOT NULL
    GROUP BY e.pair
)
SELECT
    e.pair,
    make_timestamptz(e.time_us) AS time,
    a.anchor.after_id AS after_id,
    coalesce(a.anchor.assumed, false) AS assumed
FROM earliest AS e
LEFT JOIN anchored AS a
    ON e.pair = a.pair;

CREATE OR REPLACE MACRO promises() AS TABLE
FROM promises_of(footer_files());

CREATE OR REPLACE MACRO anchored_promises(files) AS TABLE
SELECT p.pair, p.time, p.after_id
FROM promises_of(files) AS p
WHERE p.after_id IS NOT NULL;
