-- Which ids do the events tell to be void, because the exchange has twice said that it does not have them?
--
-- told_void_spans()  the rows of void_spans(), read from the events anew

CREATE OR REPLACE MACRO told_void_spans() AS TABLE
WITH
told AS (
    SELECT
        e.pair,
        TRY_CAST(e.detail ->> 'first_id' AS BIGINT) AS first_id,
        TRY_CAST(e.detail ->> 'last_id' AS BIGINT) AS last_id
    FROM stored_events() AS e
    WHERE e.kind = 'void'
),
marked AS (
    SELECT
        t.*,
        t.first_id > 1 + max(t.last_id) OVER (
            PARTITION BY t.pair ORDER BY t.first_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS begins
    FROM told AS t
    WHERE t.first_id <= t.last_id
),
numbered AS (
    SELECT m.*, count(*) FILTER (m.begins) OVER (PARTITION BY m.pair ORDER BY m.first_id) AS run
    FROM marked AS m
)
SELECT n.pair, min(n.first_id) AS first_id, max(n.last_id) AS last_id
FROM numbered AS n
GROUP BY n.pair, n.run;
