-- The archive in Spark: trades, unknown ids and exact candles, as temporary views of one session.
--
-- trades       as in docs/queries.md, and year, the folder: a filter by pair and year opens only those files
-- known_ids    ids known without a row, as of when this was printed: void or disowned, and anchors of promises
-- unknown_ids  one row per run of ids that are neither stored nor known: pair, first_id, last_id, after_time,
--              before_time. The last run of a pair is open: its last_id is NULL
-- candles      the columns of candles(pair, timeframe) of docs/queries.md, for all pairs and timeframes: filter by both
--
-- Spark lists the folder anew for each query.

-- Without this a product of decimals loses digits: price * qty would have 6 of its 20 decimals.
SET spark.sql.decimalOperations.allowPrecisionLoss = false;
SET spark.sql.session.timeZone = UTC;

CREATE OR REPLACE TEMPORARY VIEW trades AS
SELECT t.pair, t.trade_id, t.time, t.price, t.qty, t.side, t.ord_type, t.misc, t.source, t.received, t.year
FROM parquet.`$data/trades` AS t;

CREATE OR REPLACE TEMPORARY VIEW known_ids AS
SELECT k.pair, k.first_id, k.last_id, timestamp_micros(CAST(k.time_us AS BIGINT)) AS time
FROM VALUES
    $known
AS k(pair, first_id, last_id, time_us);

CREATE OR REPLACE TEMPORARY VIEW unknown_ids AS
WITH
-- A time at which no trade can have been made limits nothing.
known AS (
    SELECT k.pair, k.first_id, k.last_id,
        CASE WHEN k.time BETWEEN TIMESTAMP '2011-01-01 00:00:00Z' AND now() + INTERVAL 366 DAYS THEN k.time END AS time
    FROM (
        SELECT t.pair, t.trade_id AS first_id, t.trade_id AS last_id, t.time FROM trades AS t
        UNION ALL
        SELECT i.pair, i.first_id, i.last_id, i.time FROM known_ids AS i
    ) AS k
),
marked AS (
    SELECT k.*, k.first_id > 1 + max(k.last_id) OVER (
        PARTITION BY k.pair ORDER BY k.first_id, k.last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS begins
    FROM known AS k
),
numbered AS (
    SELECT m.*, count_if(m.begins) OVER (PARTITION BY m.pair ORDER BY m.first_id, m.last_id) AS run
    FROM marked AS m
),
runs AS (
    SELECT n.pair, min(n.first_id) AS first_id, max(n.last_id) AS last_id,
        min_by(n.time, n.last_id) FILTER (WHERE n.time IS NOT NULL) AS first_time,
        max_by(n.time, n.last_id) FILTER (WHERE n.time IS NOT NULL) AS last_time
    FROM numbered AS n
    GROUP BY n.pair, n.run
),
unknown AS (
    SELECT r.pair, 1 + coalesce(lag(r.last_id) OVER ids, 0) AS first_id, r.first_id - 1 AS last_id,
        last_value(r.last_time) IGNORE NULLS OVER (
            PARTITION BY r.pair ORDER BY r.first_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS after_time,
        first_value(r.first_time) IGNORE NULLS OVER (
            PARTITION BY r.pair ORDER BY r.first_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS before_time
    FROM runs AS r
    WINDOW ids AS (PARTITION BY r.pair ORDER BY r.first_id)
    UNION ALL
    SELECT r.pair, max(r.last_id) + 1, NULL, max_by(r.last_time, r.last_id) FILTER (WHERE r.last_time IS NOT NULL), NULL
    FROM runs AS r
    GROUP BY r.pair
)
SELECT u.pair, u.first_id, u.last_id, u.after_time, u.before_time
FROM unknown AS u
WHERE u.last_id IS NULL OR u.first_id <= u.last_id;

CREATE OR REPLACE TEMPORARY VIEW candles AS
WITH
timeframes AS (
    SELECT f.timeframe, f.minutes * 60000000 AS width
    FROM VALUES ('1m', 1L), ('5m', 5), ('15m', 15), ('30m', 30), ('1h', 60), ('4h', 240), ('12h', 720), ('1d', 1440),
        ('1w', 10080), ('15d', 21600) AS f(timeframe, minutes)
),
bars AS (
    SELECT
        t.pair, f.timeframe, f.width, unix_micros(t.time) div f.width AS number,
        min_by(t.price, t.trade_id) AS open, max(t.price) AS high, min(t.price) AS low,
        max_by(t.price, t.trade_id) AS close,
        sum(t.amount) AS amount, sum(t.qty) AS volume, count(*) AS count, count(t.amount) AS valid
    FROM (
        SELECT t.*, CASE WHEN CAST(t.price AS DOUBLE) * CAST(t.qty AS DOUBLE) < 1e12 THEN t.price * t.qty END AS amount
        FROM trades AS t
    ) AS t
    CROSS JOIN timeframes AS f
    GROUP BY t.pair, f.timeframe, f.width, number
),
-- A bar is complete unless unknown ids that begin in it or before it end in it or after it.
ends AS (
    SELECT u.pair, f.timeframe, coalesce(unix_micros(u.after_time) div f.width, -1) AS number,
        CASE WHEN u.before_time IS NULL THEN 9223372036854775807 ELSE unix_micros(u.before_time) div f.width END AS last
    FROM unknown_ids AS u
    CROSS JOIN timeframes AS f
),
checked AS (
    SELECT b.*, max(b.last) OVER (
        PARTITION BY b.pair, b.timeframe ORDER BY b.number RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS unknown_until
    FROM (
        SELECT b.*, CAST(NULL AS BIGINT) AS last FROM bars AS b
        UNION ALL
        SELECT e.pair, e.timeframe, NULL, e.number, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, e.last
        FROM ends AS e
    ) AS b
),
listings AS (
    SELECT i.pair, i.pair_decimals AS digits,
        CASE WHEN lag(i.valid_from) OVER times IS NOT NULL THEN unix_micros(i.valid_from) ELSE 0 END AS since,
        coalesce(unix_micros(lead(i.valid_from) OVER times), 9223372036854775807) AS until
    FROM parquet.`$data/instruments` AS i
    WINDOW times AS (PARTITION BY i.pair ORDER BY i.valid_from)
),
-- vwap is truncated. The cast may round it up, which the exact product shows.
priced AS (
    SELECT c.*, CAST(power(10, -coalesce(l.digits, 12)) AS DECIMAL(13, 12)) AS step,
        CASE WHEN c.valid = c.count THEN CAST(c.amount / c.volume AS DECIMAL(28, 12)) END AS rounded
    FROM checked AS c
    LEFT JOIN listings AS l
        ON c.pair = l.pair AND c.number * c.width >= l.since AND c.number * c.width < l.until
    WHERE c.count IS NOT NULL
),
stepped AS (
    SELECT p.*, p.rounded - p.rounded % p.step AS steps
    FROM priced AS p
)
SELECT
    s.pair, s.timeframe, timestamp_micros(s.number * s.width) AS time, s.open, s.high, s.low, s.close,
    CAST(CASE WHEN s.steps * s.volume > s.amount THEN s.steps - s.step ELSE s.steps END AS DECIMAL(28, 12)) AS vwap,
    s.volume, s.count, coalesce(s.unknown_until < s.number, true) AS complete
FROM stepped AS s;
