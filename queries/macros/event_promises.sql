-- Which events record what is promised, or wanted although only history files reach below it?
--
-- event_promises()  one row per event: pair, kind (promised, anchored, joined), time_us, after_id, assumed; a value is
--                   NULL if the event does not have it or it cannot be parsed. promises() combines the first two kinds
--                   into one promise; above the lowest after_id of the third the view gaps leaves nothing out.

CREATE OR REPLACE MACRO event_promises() AS TABLE
SELECT
    e.pair,
    e.kind,
    TRY_CAST(e.detail ->> 'time_us' AS BIGINT) AS time_us,
    TRY_CAST(e.detail ->> 'after_id' AS BIGINT) AS after_id,
    TRY_CAST(e.detail ->> 'assumed' AS BOOLEAN) AS assumed
FROM evidence_events() AS e
WHERE e.kind IN ('promised', 'anchored', 'joined') AND e.pair IS NOT NULL;
