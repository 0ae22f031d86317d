-- Which ids of each pair are not held, and when can they have been made?
--
-- unheld_spans()  of all pairs: pair, first_id, last_id, kind, after_time, before_time, from_time, until_time
--
--   kind        missing  between held ids, and not void
--               before   below the first id held, and not void
--               after    above the last id held: trades that may have come since; last_id is the highest number there is
--               void     the exchange has twice said that it does not have them
--   after_time  and before_time: when the trades held next to them were made; NULL: none is held on that side
--   from_time   no trade of these ids was made before it: after_time, or the moment until which the exchange has
--               confirmed that none came; until_time is before_time
--
-- The views gaps and certificates are made of this. Held beats void, and a confirmation that a held trade refutes is
-- not believed.

CREATE OR REPLACE MACRO unheld_spans() AS TABLE
WITH
told AS (
    SELECT
        e.pair,
        e.kind,
        TRY_CAST(e.detail ->> 'first_id' AS BIGINT) AS first_id,
        TRY_CAST(e.detail ->> 'last_id' AS BIGINT) AS last_id,
        make_timestamptz(TRY_CAST(e.detail ->> 'until_us' AS BIGINT)) AS until
    FROM events AS e
    WHERE e.kind IN ('void', 'confirmed')
),
unheld AS (
    SELECT
        c.pair,
        1 + coalesce(lag(c.last_id) OVER ids, 0) AS first_id,
        c.first_id - 1 AS last_id,
        lag(c.last_time) OVER ids AS after_time,
        c.first_time AS before_time
    FROM coverage AS c
    WINDOW ids AS (PARTITION BY c.pair ORDER BY c.first_id)
    UNION ALL
    SELECT c.pair, max(c.last_id) + 1, 9223372036854775807, arg_max(c.last_time, c.last_id), NULL
    FROM coverage AS c
    GROUP BY c.pair
),
gap AS (
    FROM unheld WHERE first_id <= last_id
),
-- What is void in each gap. Of those that touch or overlap, one each.
void_in AS (
    SELECT
        g.*,
        greatest(g.first_id, v.first_id) AS void_first,
        least(g.last_id, v.last_id) AS void_last
    FROM gap AS g
    JOIN told AS v
        ON g.pair = v.pair
            AND v.kind = 'void'
            AND v.first_id <= v.last_id
            AND v.first_id <= g.last_id
            AND v.last_id >= g.first_id
),
marked AS (
    SELECT
        *,
        void_first > 1 + max(void_last) OVER (
            PARTITION BY pair, first_id ORDER BY void_first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS begins
    FROM void_in
),
numbered AS (
    SELECT *, count(*) FILTER (begins) OVER (PARTITION BY pair, first_id ORDER BY void_first) AS run
    FROM marked
),
void AS (
    SELECT
        pair,
        first_id,
        last_id,
        any_value(after_time) AS after_time,
        any_value(before_time) AS before_time,
        min(void_first) AS void_first,
        max(void_last) AS void_last
    FROM numbered
    GROUP BY pair, first_id, last_id, run
),
-- What is left of each gap: before each void run in it, and after the last one.
left_over AS (
    SELECT
        pair,
        first_id AS gap_first,
        coalesce(lag(void_last) OVER ids + 1, first_id) AS first_id,
        void_first - 1 AS last_id,
        after_time,
        before_time
    FROM void
    WINDOW ids AS (PARTITION BY pair, first_id ORDER BY void_first)
    UNION ALL
    SELECT
        g.pair,
        g.first_id,
        coalesce(v.void_last + 1, g.first_id),
        g.last_id,
        g.after_time,
        g.before_time
    FROM gap AS g
    LEFT JOIN (
        SELECT pair, first_id, max(void_last) AS void_last FROM void GROUP BY pair, first_id
    ) AS v
        ON g.pair = v.pair AND g.first_id = v.first_id
),
unknown AS (
    FROM left_over WHERE first_id <= last_id
),
earliest AS (
    SELECT
        c.pair,
        c.first_id,
        min(c.first_time) OVER (
            PARTITION BY c.pair ORDER BY c.first_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS earliest_time
    FROM coverage AS c
),
-- Confirmations speak of an unknown id if they were made of the last id held before it, or of a void one since.
confirmed AS (
    SELECT u.pair, u.first_id, max(k.until) AS until
    FROM unknown AS u
    JOIN told AS k
        ON u.pair = k.pair AND k.kind = 'confirmed' AND k.last_id >= u.gap_first - 1 AND k.last_id < u.first_id
    ASOF LEFT JOIN earliest AS e
        ON u.pair = e.pair AND u.first_id < e.first_id
    WHERE e.earliest_time IS NULL OR k.until <= e.earliest_time
    GROUP BY u.pair, u.first_id
)
SELECT
    u.pair,
    u.first_id,
    u.last_id,
    CASE
        WHEN u.after_time IS NULL THEN 'before'
        WHEN u.before_time IS NULL THEN 'after'
        ELSE 'missing'
    END AS kind,
    u.after_time,
    u.before_time,
    greatest(u.after_time, k.until) AS from_time,
    u.before_time AS until_time
FROM unknown AS u
LEFT JOIN confirmed AS k
    ON u.pair = k.pair AND u.first_id = k.first_id
UNION ALL
SELECT v.pair, v.void_first, v.void_last, 'void', v.after_time, v.before_time, v.after_time, v.before_time
FROM void AS v;
