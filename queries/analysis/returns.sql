-- By how much did the price of one pair change from bar to bar?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $width  INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- change is exact. simple_return (change / previous close) and log_return are doubles, as ratios are. A bar without
-- trades has a row, with the previous close. complete: no trade can be missing in the bar and the previous one;
-- missing_trades is as in time_bars(). If nothing is known about a bar, its close is NULL.

WITH closes AS (
    SELECT
        b.*,
        CASE WHEN lag(b.time_end) OVER bars = b.time THEN lag(b.close) OVER bars END AS close_before,
        coalesce(lag(b.time_end) OVER bars = b.time AND lag(b.complete) OVER bars, false) AS complete_before
    FROM time_bars($pair, $width, grid_before($start, $width), $stop, filled := true) AS b
    WINDOW bars AS (ORDER BY b.time)
)
SELECT
    c.time,
    c.close,
    c.close - c.close_before AS change,
    (c.close - c.close_before) / c.close_before AS simple_return,
    ln(c.close / c.close_before) AS log_return,
    c.complete AND c.complete_before AS complete,
    c.missing_trades
FROM closes AS c
WHERE $start IS NULL OR c.time >= utc_moment($start)
ORDER BY c.time;
