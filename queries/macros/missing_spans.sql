-- Which ids of each pair are not stored, and when can they have been made?
--
-- missing_spans()  of all pairs with stored, promised or certified ids: pair, first_id, last_id, kind, after_time,
--                  before_time, from_time, until_time
--
--   kind        missing   between stored ids, or between the anchor of the promise and the first stored id, and not
--                         absent; or certified once, anywhere
--               before    below everything stored or promised, and not absent
--               after     above everything stored: trades that may have come since; last_id is the highest possible
--                         number
--               void, unreadable, disowned   absent: the state in absent_spans()
--   after_time  and before_time: the times of the stored trades next to them, or the time of the promise if only its
--               anchor is in between; NULL if that side has neither
--   from_time   no trade of these ids was made before it: after_time, or the time until which the exchange has
--               confirmed that no trade came; until_time is before_time
--
-- The views gaps and certificates are built on this. A confirmation that a stored trade refutes is not trusted.

CREATE OR REPLACE MACRO missing_spans() AS TABLE
WITH
held AS MATERIALIZED (
    FROM coverage_in(footer_files())
),
promised AS MATERIALIZED (
    FROM promises()
),
certified AS MATERIALIZED (
    FROM certified_spans()
),
ends AS (
    SELECT h.pair, min(h.first_id) AS first_held, max(h.last_id) AS last_held
    FROM held AS h
    GROUP BY h.pair
),
-- The anchor is not a stored id, but separates the ids before the promise from those after it, unless both its
-- neighbours are stored.
edges AS (
    SELECT h.pair, h.first_id, h.last_id, h.first_time, h.last_time, true AS is_held
    FROM held AS h
    UNION ALL
    SELECT p.pair, p.after_id + 1, p.after_id, p.time, p.time, false
    FROM promised AS p
    WHERE p.after_id IS NOT NULL AND NOT EXISTS (
        FROM held AS h
        WHERE h.pair = p.pair AND h.first_id <= p.after_id AND h.last_id > p.after_id
    )
    UNION ALL
    SELECT b.pair, NULL, NULL, NULL, NULL, false
    FROM (
        SELECT h.pair FROM held AS h
        UNION
        SELECT p.pair FROM promised AS p
        UNION
        SELECT c.pair FROM certified AS c
    ) AS b
),
unheld AS (
    SELECT
        e.pair,
        1 + coalesce(lag(e.last_id) OVER ids, 0) AS first_id,
        coalesce(e.first_id - 1, 9223372036854775807) AS last_id,
        lag(e.last_time) OVER ids AS after_time,
        e.first_time AS before_time,
        max(e.last_id) FILTER (e.is_held) OVER (
            PARTITION BY e.pair ORDER BY e.first_id NULLS LAST, e.last_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS after_id
    FROM edges AS e
    WINDOW ids AS (PARTITION BY e.pair ORDER BY e.first_id NULLS LAST, e.last_id)
),
placed AS (
    SELECT
        u.*,
        CASE
            WHEN u.last_id < e.last_held
                THEN CASE WHEN u.first_id > e.first_held OR u.first_id > p.after_id THEN 'missing' ELSE 'before' END
            WHEN u.first_id <= p.after_id THEN 'before'
            ELSE 'after'
        END AS kind
    FROM unheld AS u
    LEFT JOIN ends AS e
        ON u.pair = e.pair
    LEFT JOIN promised AS p
        ON u.pair = p.pair
    WHERE u.first_id <= u.last_id
),
absent AS (
    SELECT
        p.pair,
        p.first_id AS begins,
        greatest(p.first_id, v.first_id) AS first_id,
        least(p.last_id, v.last_id) AS last_id,
        v.state,
        p.after_time,
        p.before_time
    FROM placed AS p
    JOIN absent_spans() AS v
        ON p.pair = v.pair AND v.first_id <= p.last_id AND v.last_id >= p.first_id
),
-- The remaining ids between absent ones, up to the end of the ids that are not stored.
cuts AS (
    SELECT p.*, v.first_id AS absent_first, v.last_id AS absent_last
    FROM placed AS p
    JOIN absent AS v
        ON p.pair = v.pair AND p.first_id = v.begins
    UNION ALL
    SELECT p.*, NULL, NULL
    FROM placed AS p
),
parts AS (
    SELECT
        c.pair,
        c.kind,
        c.after_id,
        c.after_time,
        c.before_time,
        coalesce(1 + lag(c.absent_last) OVER ids, c.first_id) AS first_id,
        coalesce(c.absent_first - 1, c.last_id) AS last_id
    FROM cuts AS c
    WINDOW ids AS (PARTITION BY c.pair, c.first_id ORDER BY c.absent_first NULLS LAST)
),
-- Certified ids below or above everything stored are missing; left_over are the ids between them.
open AS (
    SELECT p.*
    FROM parts AS p
    WHERE p.first_id <= p.last_id
),
vanished AS (
    SELECT
        o.* REPLACE (
            'missing' AS kind, greatest(o.first_id, c.first_id) AS first_id, least(o.last_id, c.last_id) AS last_id
        ),
        o.first_id AS begins
    FROM open AS o
    JOIN certified AS c
        ON o.pair = c.pair AND c.first_id <= o.last_id AND c.last_id >= o.first_id
    WHERE o.kind <> 'missing'
),
left_over AS (
    SELECT
        o.* REPLACE (
            coalesce(1 + lag(v.last_id) OVER ids, o.first_id) AS first_id,
            coalesce(v.first_id - 1, o.last_id) AS last_id
        )
    FROM open AS o
    JOIN (
        SELECT n.pair, n.begins, n.first_id, n.last_id FROM vanished AS n
        UNION ALL
        SELECT n.pair, n.first_id, NULL, NULL FROM open AS n
    ) AS v
        ON o.pair = v.pair AND o.first_id = v.begins
    WINDOW ids AS (PARTITION BY o.pair, o.first_id ORDER BY v.first_id NULLS LAST)
),
unknown AS (
    SELECT v.* EXCLUDE (begins)
    FROM vanished AS v
    UNION ALL BY NAME
    SELECT l.*
    FROM left_over AS l
    WHERE l.first_id <= l.last_id
),
told AS (
    SELECT
        e.pair,
        TRY_CAST(e.detail ->> 'last_id' AS BIGINT) AS last_id,
        make_timestamptz(TRY_CAST(e.detail ->> 'until_us' AS BIGINT)) AS until
    FROM evidence_events() AS e
    WHERE e.kind = 'confirmed'
),
earliest AS (
    SELECT
        h.pair,
        h.first_id,
        min(h.first_time) OVER (
            PARTITION BY h.pair ORDER BY h.first_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS earliest_time
    FROM held AS h
),
-- A confirmation applies to unknown ids if it was made for the last stored id before them, or for an absent one after
-- that.
confirmed AS (
    SELECT u.pair, u.first_id, max(t.until) AS until
    FROM unknown AS u
    JOIN told AS t
        ON u.pair = t.pair AND t.last_id >= coalesce(u.after_id, 0) AND t.last_id < u.first_id
    ASOF LEFT JOIN earliest AS e
        ON u.pair = e.pair AND u.first_id < e.first_id
    WHERE e.earliest_time IS NULL OR t.until <= e.earliest_time
    GROUP BY u.pair, u.first_id
)
SELECT
    u.pair,
    u.first_id,
    u.last_id,
    u.kind,
    u.after_time,
    u.before_time,
    greatest(u.after_time, c.until) AS from_time,
    u.before_time AS until_time
FROM unknown AS u
LEFT JOIN confirmed AS c
    ON u.pair = c.pair AND u.first_id = c.first_id
UNION ALL
SELECT v.pair, v.first_id, v.last_id, v.state, v.after_time, v.before_time, v.after_time, v.before_time
FROM absent AS v;
