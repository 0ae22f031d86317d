-- What are the closes of many pairs on one grid of bars?
--
-- closes_of(symbols, width, start, stop)
--   symbols  a list of v2 symbols, ['BTC/USD', 'ETH/USD']; NULL: all pairs
--   width    the length of a bar, '7 minutes' or an INTERVAL, counted from 1970-01-01 UTC as in time_bars()
--   start    the first bar is the first that begins at or after start; NULL or left out: open end
--   stop     the last bar is the last that begins before stop; NULL or left out: open end
--
-- closes_of(pair, time, time_end, first_id, last_id, close, complete)
--   first_id  the lowest id in the bar, last_id the highest; in a bar without trades, those of the trade before it
--   close     the price of last_id; NULL in a bar without trades that is not complete
--   complete  no trade of the bar can be missing, as in time_bars(), nor since the close that it has
--
-- These are the closes of time_bars(…, filled := true), for many pairs in one query: one row for each bar of a pair
-- from its first one with trades to its last one, whether these are in the range or outside it. A bar in which no trade
-- can have been made, before 2011 or more than a year in the future, has no row.

CREATE OR REPLACE MACRO closes_of(symbols, width, start := NULL, stop := NULL) AS TABLE
WITH
asked AS (
    SELECT t.pair, t.trade_id, t.time, t.price
    FROM trades AS t
    WHERE symbols IS NULL OR list_contains(symbols, t.pair)
),
traded AS (
    SELECT
        t.pair,
        grid_number(t.time, width, NULL) AS number,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id,
        arg_max(t.price, t.trade_id) AS close
    FROM asked AS t
    WHERE (start IS NULL OR t.time >= grid_ceiling(start, width, NULL))
        AND (stop IS NULL OR t.time < grid_ceiling(stop, width, NULL))
    GROUP BY t.pair, number
),
-- The last bar with trades before these, and the first one after them, so that the ends of the range are filled too.
before AS (
    SELECT t.pair, grid_number(max(t.time), width, NULL) AS number
    FROM asked AS t
    WHERE start IS NOT NULL AND t.time < grid_ceiling(start, width, NULL)
    GROUP BY t.pair
),
carried AS (
    SELECT t.pair, b.number, max(t.trade_id) AS last_id, arg_max(t.price, t.trade_id) AS close
    FROM asked AS t
    JOIN before AS b
        ON t.pair = b.pair AND t.time >= grid_start(b.number, width, NULL)
    WHERE start IS NOT NULL AND t.time < grid_ceiling(start, width, NULL)
    GROUP BY t.pair, b.number
),
later AS (
    SELECT t.pair, grid_number(min(t.time), width, NULL) AS number
    FROM asked AS t
    WHERE stop IS NOT NULL AND t.time >= grid_ceiling(stop, width, NULL)
    GROUP BY t.pair
),
neighbours AS (
    SELECT b.*, lead(b.number) OVER (PARTITION BY b.pair ORDER BY b.number) AS next_number
    FROM (FROM traded UNION ALL BY NAME FROM carried UNION ALL BY NAME FROM later) AS b
    WHERE ordinary_time(grid_start(b.number, width, NULL), NULL) IS NOT NULL
),
filled AS (
    SELECT
        b.*,
        unnest(range(
            greatest(b.number, grid_number(grid_ceiling(start, width, NULL), width, NULL)),
            least(coalesce(b.next_number, b.number + 1), grid_number(grid_ceiling(stop, width, NULL), width, NULL))
        )) AS row
    FROM neighbours AS b
),
timed AS (
    SELECT
        b.*,
        b.row = b.number AS is_traded,
        grid_start(b.row, width, NULL) AS time,
        grid_start(b.row + 1, width, NULL) AS time_end
    FROM filled AS b
),
runs AS (
    SELECT r.pair, r.after, max(r.last_time) AS last_time, arg_max(r.first_id, r.last_time) AS first_id
    FROM known_runs(footer_files()) AS r
    GROUP BY r.pair, r.after
),
known AS (
    SELECT b.*, coalesce(r.last_time >= b.time_end AND b.last_id >= r.first_id, false) AS complete
    FROM timed AS b
    ASOF LEFT JOIN runs AS r
        ON b.pair = r.pair AND b.time > r.after
)
SELECT
    k.pair,
    k.time,
    k.time_end,
    CASE WHEN k.is_traded THEN k.first_id ELSE k.last_id END AS first_id,
    k.last_id,
    CASE WHEN k.is_traded OR k.complete THEN k.close END AS close,
    k.complete
FROM known AS k;
