-- Which ids are absent according to the events: void, unreadable or disowned?
--
-- event_absent_spans()  the rows of absent_spans(), read from the events anew
--
-- Of all claims that disown or reclaim an id, the latest counts. Unreadable takes precedence over void.

CREATE OR REPLACE MACRO event_absent_spans() AS TABLE
WITH
told AS MATERIALIZED (
    SELECT
        e.pair,
        e.kind,
        TRY_CAST(e.detail ->> 'first_id' AS BIGINT) AS first_id,
        TRY_CAST(e.detail ->> 'last_id' AS BIGINT) AS last_id,
        TRY_CAST(e.detail ->> 'time_us' AS BIGINT) AS time_us,
        e.detail ->> 'reason' AS reason
    FROM evidence_events() AS e
    WHERE e.kind IN ('void', 'unreadable', 'disowned', 'reclaimed')
),
claims AS (
    SELECT t.*
    FROM told AS t
    WHERE t.first_id <= t.last_id
        AND (t.kind IN ('void', 'unreadable') OR t.time_us BETWEEN 0 AND 253402300799999999)
        AND (t.kind <> 'disowned' OR t.reason IS NOT NULL)
),
-- All ids between two neighbouring ends of claims have the same state.
cuts AS (
    SELECT c.pair, c.first_id AS first_id FROM claims AS c
    UNION
    SELECT c.pair, c.last_id + 1 FROM claims AS c WHERE c.last_id < 9223372036854775807
),
pieces AS (
    SELECT
        c.pair,
        c.first_id,
        coalesce(
            lead(c.first_id) OVER (PARTITION BY c.pair ORDER BY c.first_id) - 1, 9223372036854775807
        ) AS last_id
    FROM cuts AS c
),
fated AS (
    SELECT
        p.pair,
        p.first_id,
        p.last_id,
        CASE
            WHEN max((c.time_us, c.kind)) FILTER (c.kind IN ('disowned', 'reclaimed'))[2] = 'disowned' THEN 'disowned'
            WHEN bool_or(c.kind = 'unreadable') THEN 'unreadable'
            WHEN bool_or(c.kind = 'void') THEN 'void'
        END AS state
    FROM pieces AS p
    JOIN claims AS c
        ON p.pair = c.pair AND p.first_id BETWEEN c.first_id AND c.last_id
    GROUP BY p.pair, p.first_id, p.last_id
),
marked AS (
    SELECT
        f.*,
        f.first_id > 1 + lag(f.last_id) OVER ids OR f.state <> lag(f.state) OVER ids AS begins
    FROM fated AS f
    WHERE f.state IS NOT NULL
    WINDOW ids AS (PARTITION BY f.pair ORDER BY f.first_id)
),
numbered AS (
    SELECT m.*, count(*) FILTER (m.begins) OVER (PARTITION BY m.pair ORDER BY m.first_id) AS run
    FROM marked AS m
)
SELECT n.pair, min(n.first_id) AS first_id, max(n.last_id) AS last_id, any_value(n.state) AS state
FROM numbered AS n
GROUP BY n.pair, n.run;
