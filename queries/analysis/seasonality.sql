-- At which hours of which weekdays is one pair traded, and how much does its price move then?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- One row for each hour (UTC) of each weekday, Monday first. Only hours in which no trade can be missing count,
-- including those without trades: hours is their number. volume and count are their sums, exact; mean_volume is a
-- double. volatility is the square root of the mean squared hourly log return, a double, not annualized.

WITH hourly AS (
    SELECT
        b.*,
        CASE WHEN lag(b.complete) OVER bars AND lag(b.time_end) OVER bars = b.time
            THEN lag(b.close) OVER bars END AS close_before
    FROM time_bars($pair, '1 hour', grid_before($start, '1 hour'), $stop, filled := true) AS b
    WINDOW bars AS (ORDER BY b.time)
)
SELECT
    isodow(make_timestamp(epoch_us(h.time))) AS weekday,
    dayname(make_timestamp(epoch_us(h.time))) AS name,
    hour(make_timestamp(epoch_us(h.time))) AS hour,
    count(*) AS hours,
    sum(h.count)::BIGINT AS count,
    sum(h.volume) AS volume,
    sum(h.volume) / count(*) AS mean_volume,
    sqrt(avg(ln(h.close / h.close_before) ** 2)) AS volatility
FROM hourly AS h
WHERE h.complete AND ($start IS NULL OR h.time >= utc_moment($start))
GROUP BY weekday, name, hour
ORDER BY weekday, hour;
