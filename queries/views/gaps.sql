-- Which ids are missing, do not exist, cannot be read, or are disowned? Kraken numbers a pair's trades 1, 2, 3, …
--
-- gaps(pair, first_id, last_id, missing, after_time, before_time, state)
--
-- One row per run of ids that are missing and still to be fetched (state open), that the exchange has reported twice as
-- not existing (void), that it returned twice with a row that cannot be parsed (unreadable), or that the archive's
-- owner has disowned (disowned). Open ids are between archived ids, between the promise of a pair and its first
-- archived id, or were certified anywhere and have vanished since. Ids that are missing only because rows below or
-- beside them were imported from history files are history, and not here, unless they were joined. after_time and
-- before_time are the times of the stored trades next to the ids, or the time of the promise; NULL if that side has
-- neither, which only happens to absent or vanished ids.

CREATE OR REPLACE VIEW gaps AS
WITH
unheld AS MATERIALIZED (
    FROM missing_spans()
),
imported AS MATERIALIZED (
    FROM imported_in(footer_files())
),
held AS MATERIALIZED (
    SELECT c.*
    FROM coverage_in(footer_files()) AS c
    SEMI JOIN imported AS i
        ON c.pair = i.pair
),
-- The lowest and the highest id that the exchange sent, of pairs with imported ones: an end of a run, or beside them.
ends AS (
    SELECT h.pair, unnest([h.first_id, h.last_id]) AS trade_id
    FROM held AS h
    UNION ALL
    SELECT i.pair, unnest([i.first_id - 1, i.last_id + 1])
    FROM imported AS i
),
sent AS (
    SELECT e.pair, min(e.trade_id) AS first_id, max(e.trade_id) AS last_id
    FROM ends AS e
    SEMI JOIN held AS h
        ON e.pair = h.pair AND e.trade_id BETWEEN h.first_id AND h.last_id
    ANTI JOIN imported AS i
        ON e.pair = i.pair AND e.trade_id BETWEEN i.first_id AND i.last_id
    GROUP BY e.pair
),
certified AS (
    SELECT c.pair, c.first_id, c.last_id
    FROM certified_spans() AS c
),
joined AS (
    SELECT p.pair, min(p.after_id) AS after_id
    FROM known_promises() AS p
    WHERE p.kind = 'joined' AND p.after_id >= 0 AND p.time_us BETWEEN 0 AND 253402300799999999
    GROUP BY p.pair
),
history AS MATERIALIZED (
    SELECT u.*
    FROM unheld AS u
    SEMI JOIN imported AS i
        ON u.pair = i.pair
    LEFT JOIN sent AS s
        ON u.pair = s.pair
    LEFT JOIN promises() AS p
        ON u.pair = p.pair
    LEFT JOIN joined AS j
        ON u.pair = j.pair
    WHERE u.kind = 'missing'
        AND NOT coalesce(u.first_id > s.first_id AND u.first_id < s.last_id, false)
        AND NOT coalesce(u.first_id > j.after_id, false)
        AND NOT coalesce(CASE WHEN p.after_id IS NULL THEN u.after_time >= p.time ELSE u.first_id > p.after_id END, false)
)
SELECT
    u.pair,
    u.first_id,
    u.last_id,
    u.last_id - u.first_id + 1 AS missing,
    u.after_time,
    u.before_time,
    CASE u.kind WHEN 'missing' THEN 'open' ELSE u.kind END AS state
FROM unheld AS u
ANTI JOIN history AS h
    ON u.pair = h.pair AND u.first_id = h.first_id AND u.kind = h.kind
WHERE u.kind NOT IN ('before', 'after')
UNION ALL BY NAME
SELECT
    h.pair,
    greatest(h.first_id, c.first_id) AS first_id,
    least(h.last_id, c.last_id) AS last_id,
    least(h.last_id, c.last_id) - greatest(h.first_id, c.first_id) + 1 AS missing,
    h.after_time,
    h.before_time,
    'open' AS state
FROM history AS h
JOIN certified AS c
    ON h.pair = c.pair AND c.first_id <= h.last_id AND c.last_id >= h.first_id
UNION ALL BY NAME
SELECT f.pair
FROM refused_pairs() AS f;
