-- How volatile was one pair, by four estimators, annualized?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $width  INTERVAL = 1 hour   the length of the bars it is estimated from
-- $per    INTERVAL = 1 day    the length of the periods it is estimated for, counted from 1970-01-01 UTC
-- $start  TIMESTAMPTZ = NULL  the first period is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last period is the last that begins before it; NULL: all
--
-- Statistics, and therefore doubles: standard deviations of the logarithm of the price, times the square root of the
-- number of bars in 365 days. 0.5 is 50 % a year.
--   close_to_close  of the returns from close to close, with n - 1
--   parkinson       from high and low (Parkinson 1980)
--   garman_klass    from open, high, low and close, without drift (Garman and Klass 1980)
--   yang_zhang      the same with drift, and with the change from a close to the next open (Yang and Zhang 2000)
-- A bar belongs to the period in which it begins, and periods are never cut. Only bars in which no trade can be missing
-- count: bars is their number, left_out that of the others. A bar without trades counts with the previous close.
-- missing_trades is the largest number that any bar may miss. Of a range that is shorter than a bar none is complete: its
-- bars are 0 and its estimates NULL; choose a narrower width.

WITH
known AS (
    SELECT
        b.*,
        CASE WHEN lag(b.complete) OVER bars AND lag(b.time_end) OVER bars = b.time
            THEN lag(b.close) OVER bars END AS close_before
    FROM time_bars(
        $pair,
        $width,
        grid_before($start, greatest($per, $width)),
        grid_ceiling($stop, $per, NULL),
        filled := true
    ) AS b
    WINDOW bars AS (ORDER BY b.time)
),
logs AS (
    SELECT
        grid_start(grid_number(k.time, $per, NULL), $per, NULL) AS time,
        k.complete,
        k.missing_trades,
        CASE WHEN k.complete THEN ln(k.close / k.close_before) END AS r,
        CASE WHEN k.complete THEN ln(k.open / k.close_before) END AS o,
        CASE WHEN k.complete THEN ln(k.high / k.open) END AS u,
        CASE WHEN k.complete THEN ln(k.low / k.open) END AS d,
        CASE WHEN k.complete THEN ln(k.close / k.open) END AS c
    FROM known AS k
    WHERE $start IS NULL OR k.time >= grid_ceiling($start, $per, NULL)
),
moments AS (
    SELECT
        l.time,
        count(l.c) AS bars,
        count(*) - count(l.c) AS left_out,
        max(l.missing_trades) AS missing_trades,
        var_samp(l.r) AS close_to_close,
        avg((l.u - l.d) ** 2) / (4 * ln(2)) AS parkinson,
        avg(0.5 * (l.u - l.d) ** 2 - (2 * ln(2) - 1) * l.c ** 2) AS garman_klass,
        var_samp(l.o) AS overnight,
        var_samp(l.c) AS open_to_close,
        avg(l.u * (l.u - l.c) + l.d * (l.d - l.c)) AS rogers_satchell
    FROM logs AS l
    GROUP BY l.time
),
weighed AS (
    SELECT
        m.*,
        CASE WHEN m.bars > 1 THEN 0.34 / (1.34 + (m.bars + 1) / (m.bars - 1)) END AS k,
        sqrt(365 * 86400000000 / width_us($width)) AS scale
    FROM moments AS m
)
SELECT
    w.time,
    sqrt(w.close_to_close) * w.scale AS close_to_close,
    sqrt(w.parkinson) * w.scale AS parkinson,
    sqrt(w.garman_klass) * w.scale AS garman_klass,
    sqrt(w.overnight + w.k * w.open_to_close + (1 - w.k) * w.rogers_satchell) * w.scale AS yang_zhang,
    w.bars,
    w.left_out,
    w.missing_trades
FROM weighed AS w
ORDER BY w.time;
