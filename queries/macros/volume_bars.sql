-- What are one pair's exact bars of a fixed volume, or a fixed amount of money, each?
--
-- volume_bars(pair, size, start, stop)  size in the base currency: a bar ends when this volume has been traded
-- dollar_bars(pair, size, start, stop)  size in the quote currency, of any pair
--   size   a number with at most 8 decimals
--   start  a bar begins with its first trade
--
-- Columns as in tick_bars(), except
--   complete        the bar is full and begins where the previous one ends, or at midnight; false if it touches a gap,
--                   and for the last of a day, which ends with the day
--   missing_trades  the number of ids missing right before or right after a bar that is not complete for that reason
--
-- Totals start from zero at each midnight UTC, and after each gap. The trade with which the total reaches a multiple of
-- size is the last of its bar: the excess counts for the next bar, so n bars contain n times size to within one trade,
-- and a trade of several sizes is in one bar. Trades are never split, and bars never span a gap. Ids that do not exist
-- (void) or are disowned are not gaps. A trade of 10^12 or more counts as zero. Bars are never cut by start and stop,
-- and a part of a range has the same bars as the whole.

-- measured_bars(pair, size, measure, start, stop): both kinds; measure is an expression of a trade t. Each kind has its
-- own scale: a total of quantities, of scale 8, becomes a double in a fortieth of the time of an amount.
CREATE OR REPLACE MACRO measured_bars(pair, size, measure, start, stop) AS TABLE
WITH
runs AS (
    FROM pair_known_runs(pair)
),
measured AS (
    SELECT t.*, utc_day(t.time) AS day, r.first_id AS run_first, measure AS measure
    FROM pair_trades(pair, first_midnight(start), last_midnight(stop)) AS t
    ASOF LEFT JOIN runs AS r
        ON t.trade_id >= r.first_id
),
-- Sorted, so that sums over all rows so far are made as the rows come, in a tenth of the time of a sum for each day.
sorted AS (
    SELECT m.*
    FROM measured AS m
    ORDER BY m.day, m.trade_id
),
summed AS (
    SELECT
        s.*,
        sum(s.measure) OVER (ROWS UNBOUNDED PRECEDING) AS total_so_far,
        lag(s.day) OVER () IS DISTINCT FROM s.day OR lag(s.run_first) OVER () IS DISTINCT FROM s.run_first AS restarts
    FROM sorted AS s
),
restarted AS (
    SELECT
        s.*,
        s.total_so_far
        - max(CASE WHEN s.restarts THEN s.total_so_far - s.measure END) OVER (ROWS UNBOUNDED PRECEDING) AS total
    FROM summed AS s
),
numbered AS (
    SELECT r.*, whole_times(r.total - r.measure, bar_size(size::DECIMAL(28, 8))) AS number
    FROM restarted AS r
),
bars AS (
    SELECT
        n.run_first,
        n.day,
        n.number,
        max(n.total) AS total,
        arg_min(n.time, n.trade_id) AS time,
        arg_max(n.time, n.trade_id) AS time_end,
        min(n.trade_id) AS first_id,
        max(n.trade_id) AS last_id,
        unnest(ohlcv(n.trade_id, n.price, n.qty)),
        coalesce(sum(n.qty) FILTER (n.side = 'buy'), 0) AS buy_volume
    FROM numbered AS n
    GROUP BY n.run_first, n.day, n.number
),
-- Absent ids may be among the missing ones between two stored trades.
holes AS (
    SELECT u.after_id, u.before_id, sum(u.last_id - u.first_id + 1)::BIGINT AS missing
    FROM pair_unknown_ids(pair) AS u
    WHERE u.before_id IS NOT NULL AND (u.after_id IS NOT NULL OR u.after_time IS NOT NULL)
    GROUP BY u.after_id, u.before_id
),
ended AS (
    SELECT
        b.*,
        r.first_held,
        r.last_held,
        b.total >= (b.number + 1)::DECIMAL(16, 0) * size::DECIMAL(28, 8) AS is_full,
        b.first_id = r.first_held AND NOT coalesce(r.after < day_start(b.day), false) AS begins_late
    FROM bars AS b
    LEFT JOIN runs AS r
        ON b.run_first = r.first_id
)
SELECT
    pair AS pair,
    b.time,
    b.time_end,
    b.first_id,
    b.last_id,
    b.open,
    b.high,
    b.low,
    b.close,
    cut_vwap(b.amount, b.volume, coalesce(d.digits, unlisted_decimals())) AS vwap,
    b.volume,
    b.amount,
    b.count,
    b.buy_volume,
    b.is_full AND NOT b.begins_late AS complete,
    CASE WHEN b.begins_late THEN coalesce(before.missing, 0) ELSE 0 END
    + CASE WHEN NOT b.is_full AND b.last_id = b.last_held THEN coalesce(after.missing, 0) ELSE 0 END AS missing_trades
FROM ended AS b
ASOF LEFT JOIN listed_decimals(pair) AS d
    ON b.time >= d.since
LEFT JOIN holes AS before
    ON b.first_held = before.before_id
LEFT JOIN holes AS after
    ON b.last_held = after.after_id
WHERE (start IS NULL OR b.time >= utc_moment(start))
    AND (stop IS NULL OR b.time < utc_moment(stop))
ORDER BY b.first_id;

-- What are one pair's bars of a fixed volume each?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $size   DECIMAL             how much of the base currency a bar has
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- by first_id, without pair
CREATE OR REPLACE MACRO volume_bars(pair, size, start := NULL, stop := NULL) AS TABLE
FROM measured_bars(pair, size, CASE WHEN t.qty < 1e12 THEN t.qty ELSE 0::DECIMAL(28, 8) END, start, stop);

-- What are one pair's bars of a fixed amount of quote currency each?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $size   DECIMAL             how much of the quote currency a bar has
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- by first_id, without pair
CREATE OR REPLACE MACRO dollar_bars(pair, size, start := NULL, stop := NULL) AS TABLE
FROM measured_bars(pair, size, coalesce(trade_amount(t.price, t.qty), 0), start, stop);
