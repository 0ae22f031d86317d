-- What do events tell of promises?
--
-- event_promises()  one row per event: pair, kind (promised, anchored), time_us, after_id, assumed; NULL is what it does not
--                  tell, or not in a way that can be read. promises() makes one promise of them.

CREATE OR REPLACE MACRO event_promises() AS TABLE
SELECT
    e.pair,
    e.kind,
    TRY_CAST(e.detail ->> 'time_us' AS BIGINT) AS time_us,
    TRY_CAST(e.detail ->> 'after_id' AS BIGINT) AS after_id,
    TRY_CAST(e.detail ->> 'assumed' AS BOOLEAN) AS assumed
FROM evidence_events() AS e
WHERE e.kind IN ('promised', 'anchored') AND e.pair IS NOT NULL;
