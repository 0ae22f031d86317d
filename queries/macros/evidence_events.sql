-- What was ever noted of ids that still counts?
--
-- evidence_events()       the rows of stored_events(), but for those of a pair that were noted before all that was held of it
--                     was moved away because the exchange numbers it anew
-- renumbered_pairs()  one row per pair that the exchange numbers anew: pair, from_time, the moment from which on what
--                     came was set aside. Nothing says more of it than that: what is held and what comes do not compare

CREATE OR REPLACE MACRO evidence_events() AS TABLE
WITH
begun AS (
    SELECT e.pair, max(TRY_CAST(e.detail ->> 'time_us' AS BIGINT)) AS time_us
    FROM stored_events() AS e
    WHERE e.kind = 'numbering_settled' AND TRY_CAST(e.detail ->> 'anew' AS BOOLEAN)
        AND TRY_CAST(e.detail ->> 'time_us' AS BIGINT) BETWEEN 0 AND 253402300799999999
    GROUP BY e.pair
)
SELECT e.*
FROM stored_events() AS e
LEFT JOIN begun AS b
    ON e.pair = b.pair
WHERE b.time_us IS NULL
    OR b.time_us < CASE
        WHEN e.kind IN ('disowned', 'reclaimed', 'renumbered') THEN TRY_CAST(e.detail ->> 'time_us' AS BIGINT)
        ELSE epoch_us(e.time)
    END;

CREATE OR REPLACE MACRO renumbered_pairs() AS TABLE
WITH
told AS (
    SELECT
        e.pair,
        e.kind,
        TRY_CAST(e.detail ->> 'time_us' AS BIGINT) AS time_us,
        TRY_CAST(e.detail ->> 'from_us' AS BIGINT) AS from_us
    FROM stored_events() AS e
    WHERE e.kind IN ('renumbered', 'numbering_settled') AND e.pair IS NOT NULL
),
settled AS (
    SELECT t.pair, max(t.time_us) AS time_us
    FROM told AS t
    WHERE t.kind = 'numbering_settled'
    GROUP BY t.pair
)
SELECT t.pair, make_timestamptz(arg_min(t.from_us, t.time_us)) AS from_time
FROM told AS t
LEFT JOIN settled AS s
    ON t.pair = s.pair
WHERE t.kind = 'renumbered' AND t.from_us BETWEEN 0 AND 253402300799999999
    AND t.time_us > coalesce(s.time_us, -1)
GROUP BY t.pair;
