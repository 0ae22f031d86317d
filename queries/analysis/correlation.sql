-- How closely do the prices of pairs move together, bar by bar?
--
-- $pairs  VARCHAR[] = NULL    v2 symbols; NULL: all pairs of the archive
-- $width  INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- One row per two pairs: correlation is Pearson's, of the log returns from close to close of the same bars, a double,
-- and bars is their number. Only returns between two bars in which no trade of the pair can be missing count. In a bar
-- without trades the price is the previous close, if no trade since can be missing. beta is the slope of b's returns on
-- a's.

WITH
asked AS (
    SELECT t.pair, t.trade_id, t.time, t.price
    FROM trades AS t
    WHERE ($pairs IS NULL OR list_contains($pairs, t.pair))
),
traded AS (
    SELECT
        t.pair,
        grid_number(t.time, $width, NULL) AS number,
        max(t.trade_id) AS last_id,
        arg_max(t.price, t.trade_id) AS close
    FROM asked AS t
    WHERE ($start IS NULL OR t.time >= grid_before($start, $width))
        AND ($stop IS NULL OR t.time < grid_ceiling($stop, $width, NULL))
    GROUP BY t.pair, number
),
-- The last bar with trades before these, and the first one after them, so that the ends of the range are filled too.
before AS (
    SELECT t.pair, grid_number(max(t.time), $width, NULL) AS number
    FROM asked AS t
    WHERE $start IS NOT NULL AND t.time < grid_before($start, $width)
    GROUP BY t.pair
),
carried AS (
    SELECT t.pair, b.number, max(t.trade_id) AS last_id, arg_max(t.price, t.trade_id) AS close
    FROM asked AS t
    JOIN before AS b
        ON t.pair = b.pair AND t.time >= grid_start(b.number, $width, NULL)
    WHERE $start IS NOT NULL AND t.time < grid_before($start, $width)
    GROUP BY t.pair, b.number
),
later AS (
    SELECT t.pair, grid_number(min(t.time), $width, NULL) AS number
    FROM asked AS t
    WHERE $stop IS NOT NULL AND t.time >= grid_ceiling($stop, $width, NULL)
    GROUP BY t.pair
),
neighbours AS (
    SELECT b.*, lead(b.number) OVER (PARTITION BY b.pair ORDER BY b.number) AS next_number
    FROM (FROM traded UNION ALL BY NAME FROM carried UNION ALL BY NAME FROM later) AS b
    WHERE ordinary_time(grid_start(b.number, $width, NULL), NULL) IS NOT NULL
),
filled AS (
    SELECT
        b.pair,
        b.close,
        b.last_id,
        unnest(range(
            greatest(b.number, grid_number(grid_before($start, $width), $width, NULL)),
            least(coalesce(b.next_number, b.number + 1), grid_number(grid_ceiling($stop, $width, NULL), $width, NULL))
        )) AS number
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
    SELECT r.pair, r.after, max(r.last_time) AS last_time, arg_max(r.first_id, r.last_time) AS first_id
    FROM known_runs(footer_files()) AS r
    GROUP BY r.pair, r.after
),
known AS (
    SELECT
        b.pair,
        b.number,
        b.time,
        CASE WHEN r.last_time >= b.time_end AND b.last_id >= r.first_id THEN b.close END AS close
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
WHERE a.log_return IS NOT NULL
    AND b.log_return IS NOT NULL
    AND ($start IS NULL OR a.number >= grid_number(grid_ceiling($start, $width, NULL), $width, NULL))
GROUP BY a.pair, b.pair
ORDER BY a.pair, b.pair;
