-- How closely do the prices of pairs move together, bar by bar?
--
-- $pairs  VARCHAR[] = NULL    v2 symbols; NULL: all pairs of the archive
-- $width  INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- One row for each two pairs: Pearson's correlation of the log returns from close to close of the same bars, a double,
-- and bars, how many they are. Only returns between two bars in which no trade of the pair can be missing count; in a
-- bar without trades the price is the close before it. beta is the slope of b's returns on a's.

WITH
traded AS (
    SELECT
        t.pair,
        grid_number(t.time, $width, NULL) AS number,
        arg_max(t.price, t.trade_id) AS close
    FROM trades AS t
    WHERE ($pairs IS NULL OR list_contains($pairs, t.pair))
        AND ($start IS NULL OR t.time >= grid_ceiling($start, $width, NULL))
        AND ($stop IS NULL OR t.time < grid_ceiling($stop, $width, NULL))
    GROUP BY t.pair, number
),
neighbours AS (
    SELECT b.*, lead(b.number) OVER (PARTITION BY b.pair ORDER BY b.number) AS next_number
    FROM traded AS b
    WHERE ordinary_time(grid_start(b.number, $width, NULL), NULL) IS NOT NULL
),
filled AS (
    SELECT b.pair, b.close, unnest(range(b.number, coalesce(b.next_number, b.number + 1))) AS number
    FROM neighbours AS b
),
timed AS (
    SELECT
        b.*,
        grid_start(b.number, $width, NULL) AS time,
        grid_start(b.number + 1, $width, NULL) AS time_end
    FROM filled AS b
),
runs AS (
    SELECT r.pair, r.after, r.last_time
    FROM known_runs(footer_files()) AS r
),
known AS (
    SELECT b.pair, b.number, b.time, CASE WHEN r.last_time >= b.time_end THEN b.close END AS close
    FROM timed AS b
    ASOF LEFT JOIN runs AS r
        ON b.pair = r.pair AND b.time > r.after
),
returns AS (
    SELECT k.pair, k.number, ln(k.close / lag(k.close) OVER (PARTITION BY k.pair ORDER BY k.number)) AS log_return
    FROM known AS k
)
SELECT
    a.pair AS pair_a,
    b.pair AS pair_b,
    count(*) AS bars,
    corr(b.log_return, a.log_return) AS correlation,
    regr_slope(b.log_return, a.log_return) AS beta
FROM returns AS a
JOIN returns AS b
    ON a.number = b.number AND a.pair < b.pair
WHERE a.log_return IS NOT NULL AND b.log_return IS NOT NULL
GROUP BY a.pair, b.pair
ORDER BY a.pair, b.pair;
