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
-- The views gaps and certificates are made of this. A confirmation that a held trade refutes is not believed.

CREATE OR REPLACE MACRO unheld_spans() AS TABLE
WITH
unknown AS (
    FROM unknown_ids(footer_files())
),
known AS (
    SELECT
        k.*,
        last_value(k.last_time IGNORE NULLS) OVER (
            PARTITION BY k.pair ORDER BY k.first_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS after_time,
        first_value(k.first_time IGNORE NULLS) OVER (
            PARTITION BY k.pair ORDER BY k.first_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS before_time
    FROM known_ids(footer_files()) AS k
),
told AS (
    SELECT
        e.pair,
        TRY_CAST(e.detail ->> 'last_id' AS BIGINT) AS last_id,
        make_timestamptz(TRY_CAST(e.detail ->> 'until_us' AS BIGINT)) AS until
    FROM stored_events() AS e
    WHERE e.kind = 'confirmed'
),
earliest AS (
    SELECT
        k.pair,
        k.first_id,
        min(k.first_time) OVER (
            PARTITION BY k.pair ORDER BY k.first_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS earliest_time
    FROM known AS k
    WHERE k.is_held
),
-- Confirmations speak of an unknown id if they were made of the last id held before it, or of a void one since.
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
    CASE
        WHEN u.after_time IS NULL THEN 'before'
        WHEN u.before_time IS NULL THEN 'after'
        ELSE 'missing'
    END AS kind,
    u.after_time,
    u.before_time,
    greatest(u.after_time, c.until) AS from_time,
    u.before_time AS until_time
FROM unknown AS u
LEFT JOIN confirmed AS c
    ON u.pair = c.pair AND u.first_id = c.first_id
UNION ALL
SELECT k.pair, k.first_id, k.last_id, 'void', k.after_time, k.before_time, k.after_time, k.before_time
FROM known AS k
WHERE NOT k.is_held;
