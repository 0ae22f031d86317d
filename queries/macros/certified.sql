-- What was proven about each day when the recorder last checked it?
--
-- event_certified()  one row per event: pair, day, revision, rows, first_id, last_id, sha256
-- certified_days()   the latest row of each day: the one with the highest revision
-- certified_spans()  one row per run of ids that were ever certified: pair, first_id, last_id. All of them exist, so
--                    one that is neither stored nor absent is missing, wherever it is

CREATE OR REPLACE MACRO event_certified() AS TABLE
WITH
told AS (
    -- All keys at once: there is an event for each day and pair.
    SELECT
        e.pair,
        json_transform(
            e.detail,
            '{"day":"VARCHAR","revision":"BIGINT","rows":"BIGINT","first_id":"BIGINT","last_id":"BIGINT",'
            || '"sha256":"VARCHAR"}'
        ) AS said
    FROM evidence_events() AS e
    WHERE e.kind = 'certified' AND e.pair IS NOT NULL
)
SELECT
    t.pair,
    TRY_CAST(t.said.day AS DATE) AS day,
    t.said.revision AS revision,
    t.said.rows AS rows,
    t.said.first_id AS first_id,
    t.said.last_id AS last_id,
    t.said.sha256 AS sha256
FROM told AS t
WHERE TRY_CAST(t.said.day AS DATE) IS NOT NULL AND t.said.revision > 0 AND t.said.rows > 0
    AND t.said.first_id <= t.said.last_id AND t.said.sha256 IS NOT NULL;

CREATE OR REPLACE MACRO certified_days() AS TABLE
WITH
newest AS (
    SELECT
        t.pair,
        t.day,
        max({
            'revision': t.revision,
            'rows': t.rows,
            'first_id': t.first_id,
            'last_id': t.last_id,
            'sha256': t.sha256
        }) AS said
    FROM event_certified() AS t
    GROUP BY t.pair, t.day
)
SELECT n.pair, n.day, n.said.rows AS rows, n.said.first_id AS first_id, n.said.last_id AS last_id, n.said.sha256 AS sha256
FROM newest AS n;

CREATE OR REPLACE MACRO certified_spans() AS TABLE
WITH
marked AS (
    SELECT
        t.pair,
        t.first_id,
        t.last_id,
        t.first_id > 1 + max(t.last_id) OVER (
            PARTITION BY t.pair ORDER BY t.first_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS begins
    FROM event_certified() AS t
),
numbered AS (
    SELECT m.*, count(*) FILTER (m.begins) OVER (PARTITION BY m.pair ORDER BY m.first_id) AS run
    FROM marked AS m
)
SELECT n.pair, min(n.first_id) AS first_id, max(n.last_id) AS last_id
FROM numbered AS n
GROUP BY n.pair, n.run;
