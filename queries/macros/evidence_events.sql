-- Which evidence about ids is still valid?
--
-- evidence_events()   the rows of stored_events(), without those about a renumbered pair from before its stored trades
--                     were moved out of the archive
-- renumbered_pairs()  one row per pair that the exchange has renumbered: pair, from_time, the time from which its
--                     trades were quarantined. Nothing more is known: stored and new trades cannot be compared

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
        WHEN e.kind IN ('disowned', 'reclaimed', 'renumbered', 'joined') THEN TRY_CAST(e.detail ->> 'time_us' AS BIGINT)
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
