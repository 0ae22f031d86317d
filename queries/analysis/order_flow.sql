-- Did takers of one pair buy or sell, bar by bar?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $width  INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- signed_volume is the volume bought minus the volume sold, in the base currency, exact. net_volume is its running
-- total over the bars that begin on the same UTC day, independent of the requested range. imbalance is signed_volume /
-- volume, a double from -1 (all sold) to 1 (all bought). Bars without trades have no row. complete and missing_trades
-- are as in time_bars(); the running total does not account for missing trades.

WITH bars AS (
    SELECT b.*, sum(2 * b.buy_volume - b.volume) OVER (PARTITION BY utc_day(b.time) ORDER BY b.time) AS net_volume
    FROM time_bars($pair, $width, first_midnight($start), $stop) AS b
)
SELECT
    b.time,
    b.buy_volume,
    b.volume - b.buy_volume AS sell_volume,
    2 * b.buy_volume - b.volume AS signed_volume,
    b.net_volume,
    (2 * b.buy_volume - b.volume) / b.volume AS imbalance,
    b.count,
    b.complete,
    b.missing_trades
FROM bars AS b
WHERE $start IS NULL OR b.time >= utc_moment($start)
ORDER BY b.time;
