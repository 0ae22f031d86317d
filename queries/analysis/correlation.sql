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
known AS (
    SELECT c.pair, c.time, CASE WHEN c.complete THEN c.close END AS close
    FROM closes_of($pairs, $width, grid_before($start, $width), $stop) AS c
),
returns AS (
    SELECT k.pair, k.time, ln(k.close / lag(k.close) OVER (PARTITION BY k.pair ORDER BY k.time)) AS log_return
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
    ON a.time = b.time AND a.pair < b.pair
WHERE a.log_return IS NOT NULL
    AND b.log_return IS NOT NULL
    AND ($start IS NULL OR a.time >= utc_moment($start))
GROUP BY a.pair, b.pair
ORDER BY a.pair, b.pair;
