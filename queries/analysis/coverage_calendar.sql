-- Which days of each month are complete, at a glance?
--
-- $pair   VARCHAR = NULL      the v2 symbol, 'BTC/USD'; NULL: all pairs
-- $start  TIMESTAMPTZ = NULL  the first day is the one that contains it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last day is the last that begins before it; NULL: all
--
-- One row per pair and month; days has one character for each day of the month, by its status in the view certificates:
--   #  complete    -  empty: proven, without trades    o  open    ~  pending, today    .  not in the archive or range
--   p  partial: the promise begins on it    ?  unknown
-- proven and open are numbers of days, missing is the number of ids that may be missing from the days.

WITH
days AS (
    SELECT c.pair, c.day, date_trunc('month', c.day)::DATE AS month, c.status, c.missing
    FROM certificates AS c
    WHERE ($pair IS NULL OR c.pair = $pair)
        AND ($start IS NULL OR c.day >= utc_day(utc_moment($start)))
        AND ($stop IS NULL OR c.day <= utc_day(make_timestamptz(epoch_us(utc_moment($stop)) - 1)))
),
months AS (
    SELECT DISTINCT d.pair, d.month
    FROM days AS d
),
calendar AS (
    SELECT m.pair, m.month, unnest(generate_series(m.month, last_day(m.month), INTERVAL 1 DAY))::DATE AS day
    FROM months AS m
)
SELECT
    c.pair,
    strftime(c.month, '%Y-%m') AS month,
    string_agg(
        CASE d.status
            WHEN 'complete' THEN '#' WHEN 'empty' THEN '-' WHEN 'open' THEN 'o' WHEN 'pending' THEN '~'
            WHEN 'partial' THEN 'p' WHEN 'unknown' THEN '?' ELSE '.'
        END,
        '' ORDER BY c.day
    ) AS days,
    count(*) FILTER (d.status IN ('complete', 'empty')) AS proven,
    count(*) FILTER (d.status = 'open') AS open,
    coalesce(sum(d.missing), 0)::BIGINT AS missing
FROM calendar AS c
LEFT JOIN days AS d
    ON c.pair = d.pair AND c.day = d.day
GROUP BY c.pair, c.month
ORDER BY c.pair, c.month;
