-- Which ids are missing between those archived? One row per hole; Kraken numbers the trades of a pair 1, 2, 3, …
--
-- gaps(pair, first_id, last_id, missing, after_time, before_time, state)
--
-- The missing trades happened between after_time and before_time, the times of their neighbours. state is open:
-- the ids are still to be fetched.

CREATE OR REPLACE VIEW gaps AS
WITH neighbours AS (
    SELECT
        pair,
        last_id + 1 AS first_id,
        lead(first_id) OVER pair_in_order - 1 AS last_id,
        last_time AS after_time,
        lead(first_time) OVER pair_in_order AS before_time
    FROM coverage
    WINDOW pair_in_order AS (PARTITION BY pair ORDER BY first_id)
)
SELECT
    pair,
    first_id,
    last_id,
    last_id - first_id + 1 AS missing,
    after_time,
    before_time,
    'open' AS state
FROM neighbours
WHERE last_id IS NOT NULL;
