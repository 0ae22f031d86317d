-- The archive in ClickHouse (a server, clickhouse-local or chdb): trades, unknown ids and exact candles, as views.
--
-- trades       as in docs/queries.md, and year, the folder: a filter by pair and year opens only those files
-- known_ids    ids known without a row, as of when this was printed: void or disowned, and anchors of promises
-- unknown_ids(pair = 'BTC/USD')  one row per run of ids that are neither stored nor known: pair, first_id, last_id,
--              after_time, before_time. The last run is open: its last_id is NULL
-- candles(pair = 'BTC/USD', timeframe = '1m')  the columns of candles(pair, timeframe) of docs/queries.md
--
-- The last two have parameters, because ClickHouse passes no filter by pair through joins: it would read all pairs.
--
-- ClickHouse lists the folder anew for each query. A server
-- reads only below its user_files_path.

-- Names of folders are not decoded by ClickHouse: the pair would be BTC%2FUSD.
CREATE OR REPLACE VIEW trades AS
SELECT decodeURLComponent(toString(t.pair)) AS pair, t.trade_id, t.time, t.price, t.qty, t.side, t.ord_type, t.misc,
    t.source, t.received, t.year
FROM file('$data/trades/*/*/*.parquet', Parquet) AS t
SETTINGS use_hive_partitioning = 1;

CREATE OR REPLACE VIEW known_ids AS
SELECT k.pair, k.first_id, k.last_id, fromUnixTimestamp64Micro(k.time_us, 'UTC') AS time
FROM VALUES('pair String, first_id Int64, last_id Int64, time_us Nullable(Int64)',
    $known
) AS k;

CREATE OR REPLACE VIEW unknown_ids AS
WITH
-- A time at which no trade can have been made limits nothing.
known AS (
    SELECT k.pair AS pair, assumeNotNull(k.first_id) AS first_id, assumeNotNull(k.last_id) AS last_id,
        if(k.time BETWEEN toDateTime64('2011-01-01 00:00:00', 6, 'UTC') AND now64(6) + INTERVAL 366 DAY, k.time, NULL)
            AS time
    FROM (
        SELECT t.pair AS pair, t.trade_id AS first_id, t.trade_id AS last_id, t.time AS time
        FROM trades AS t
        WHERE t.pair = {pair:String}
        UNION ALL
        SELECT i.pair, i.first_id, i.last_id, i.time
        FROM known_ids AS i
        WHERE i.pair = {pair:String}
    ) AS k
),
marked AS (
    SELECT k.*, row_number() OVER (PARTITION BY k.pair ORDER BY k.first_id, k.last_id) > 1
        AND k.first_id > 1 + max(k.last_id) OVER (
            PARTITION BY k.pair ORDER BY k.first_id, k.last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS begins
    FROM known AS k
),
numbered AS (
    SELECT m.*, sum(m.begins) OVER (PARTITION BY m.pair ORDER BY m.first_id, m.last_id) AS run
    FROM marked AS m
),
runs AS (
    SELECT n.pair AS pair, min(n.first_id) AS begin_id, max(n.last_id) AS end_id,
        argMinIf(n.time, n.last_id, n.time IS NOT NULL) AS first_time,
        argMaxIf(n.time, n.last_id, n.time IS NOT NULL) AS last_time
    FROM numbered AS n
    GROUP BY n.pair, n.run
),
unknown AS (
    SELECT r.pair AS pair, 1 + lagInFrame(r.end_id, 1, 0) OVER (
            PARTITION BY r.pair ORDER BY r.begin_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS first_id,
        toNullable(r.begin_id - 1) AS last_id,
        anyLast(r.last_time) OVER (
            PARTITION BY r.pair ORDER BY r.begin_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS after_time,
        any(r.first_time) OVER (
            PARTITION BY r.pair ORDER BY r.begin_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS before_time
    FROM runs AS r
    UNION ALL
    SELECT r.pair, max(r.end_id) + 1, NULL, argMaxIf(r.last_time, r.end_id, r.last_time IS NOT NULL), NULL
    FROM runs AS r
    GROUP BY r.pair
)
SELECT u.pair, u.first_id, u.last_id, u.after_time, u.before_time
FROM unknown AS u
WHERE u.last_id IS NULL OR u.first_id <= u.last_id;

CREATE OR REPLACE VIEW candles AS
WITH
timeframes AS (
    SELECT f.timeframe AS timeframe, f.minutes * 60000000 AS width
    FROM VALUES('timeframe String, minutes Int64', ('1m', 1), ('5m', 5), ('15m', 15), ('30m', 30), ('1h', 60),
        ('4h', 240), ('12h', 720), ('1d', 1440), ('1w', 10080), ('15d', 21600)) AS f
    WHERE f.timeframe = {timeframe:String}
),
bars AS (
    SELECT
        t.pair AS pair, f.timeframe AS timeframe, f.width AS width,
        intDiv(assumeNotNull(toUnixTimestamp64Micro(t.time)), f.width) AS number,
        argMin(t.price, t.trade_id) AS open, max(t.price) AS high, min(t.price) AS low,
        argMax(t.price, t.trade_id) AS close,
        sum(t.amount) AS amount, sum(t.qty) AS volume, count() AS trades, count(t.amount) AS valid
    FROM (
        SELECT pair, trade_id, time, price, qty,
            if(toFloat64(price) * toFloat64(qty) < 1e12, toDecimal256(price, 12) * qty, NULL) AS amount
        FROM trades
        WHERE pair = {pair:String}
    ) AS t
    CROSS JOIN timeframes AS f
    GROUP BY pair, timeframe, width, number
),
-- A bar is complete unless unknown ids that begin in it or before it end in it or after it.
ends AS (
    SELECT u.pair AS pair, f.timeframe AS timeframe,
        ifNull(intDiv(toUnixTimestamp64Micro(u.after_time), f.width), -1) AS number,
        max(ifNull(intDiv(toUnixTimestamp64Micro(u.before_time), f.width), 9223372036854775807)) OVER (
            PARTITION BY u.pair, f.timeframe
            ORDER BY ifNull(intDiv(toUnixTimestamp64Micro(u.after_time), f.width), -1)
        ) AS last
    FROM unknown_ids(pair = {pair:String}) AS u
    CROSS JOIN timeframes AS f
),
listings AS (
    SELECT assumeNotNull(i.pair) AS pair, i.pair_decimals AS digits,
        if(row_number() OVER (PARTITION BY i.pair ORDER BY i.valid_from) > 1,
            assumeNotNull(toUnixTimestamp64Micro(i.valid_from)), 0) AS since
    FROM file('$data/instruments/*.parquet', Parquet) AS i
    WHERE i.pair = {pair:String}
)
SELECT
    b.pair AS pair, b.timeframe AS timeframe, fromUnixTimestamp64Micro(b.number * b.width, 'UTC') AS time,
    b.open AS open, b.high AS high, b.low AS low, b.close AS close,
    if(b.valid = b.trades,
        toDecimal128(truncate(b.amount / toDecimal256(b.volume, 8), ifNull(l.digits, 12)), 12), NULL) AS vwap,
    b.volume AS volume, b.trades AS count, ifNull(e.last < b.number, true) AS complete
FROM bars AS b
ASOF LEFT JOIN ends AS e
    ON b.pair = e.pair AND b.timeframe = e.timeframe AND b.number >= e.number
ASOF LEFT JOIN listings AS l
    ON b.pair = l.pair AND b.number * b.width >= l.since
SETTINGS join_use_nulls = 1;
