-- What are one pair's exact bars of any width and origin, and how many trades may be missing in each?
--
-- time_bars(pair, width, start, stop, origin, filled)
--   width   months and years have no fixed length and are rejected
--   filled  true: a bar without trades between two with trades has a row too, whether these are in the range or outside
--           it; left out: it has none. Bars are not filled up to one in which no trade can have been made, before 2011
--           or more than a year in the future
--
-- time_bars(pair, time, time_end, first_id, last_id, open, high, low, close, vwap, volume, amount, count, buy_volume,
--           complete, missing_trades)
--   time            the start of the bar, time_end its end, which is exclusive
--   open            the price of the lowest id, close that of the highest: trades are ordered by id, not by time
--   vwap            sum(price * qty) / sum(qty), truncated (not rounded) to the price decimals listed at its start
--   volume          in the base currency, amount in the quote currency; buy_volume is the part of volume that takers
--                   bought. vwap and amount are NULL with a trade whose price * qty is 10^12 or more
--   complete        no trade of the bar can be missing, as in candles()
--   missing_trades  the number of ids between stored trades that are neither stored nor absent, some of which may
--                   belong to the bar. A bar that is not complete and misses none is at the beginning or the end
--                   of the stored trades.
--
-- A bar without trades has the previous close as open, high, low and close, and zero for the rest, as the exchange
-- fills it. If trades may be missing in it, or since that close, it has NULL and is not complete: from a gap, or the
-- promise, to the next stored trade the price is unknown. Bars are never cut by start and stop, and a part of a range
-- has the same bars as the whole.

-- What are one pair's bars of any width, beginning at any time?
--
-- $pair    VARCHAR             the v2 symbol, 'BTC/USD'
-- $width   INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start   TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop    TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
-- $origin  TIMESTAMPTZ = NULL  a time at which a bar begins; NULL: 1970-01-01 UTC
-- $filled  BOOLEAN = false     also bars without trades
--
-- by time, without pair
CREATE OR REPLACE MACRO time_bars(pair, width, start := NULL, stop := NULL, origin := NULL, filled := false) AS TABLE
WITH
traded AS (
    SELECT
        grid_number(t.time, width, origin) AS number,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id,
        unnest(ohlcv(t.trade_id, t.price, t.qty)),
        coalesce(sum(t.qty) FILTER (t.side = 'buy'), 0) AS buy_volume
    FROM pair_trades(pair, grid_ceiling(start, width, origin), grid_ceiling(stop, width, origin)) AS t
    GROUP BY number
),
-- The last bar with trades before the range, and the first one after it: both ends of the range are filled up to them.
before AS (
    SELECT grid_number(max(t.time), width, origin) AS number
    FROM pair_trades(pair, NULL, grid_ceiling(start, width, origin)) AS t
    WHERE filled AND start IS NOT NULL
),
carried AS (
    SELECT b.number, max(t.trade_id) AS last_id, arg_max(t.price, t.trade_id) AS close
    FROM pair_trades(pair, NULL, grid_ceiling(start, width, origin)) AS t
    JOIN before AS b
        ON t.time >= grid_start(b.number, width, origin)
    WHERE filled AND start IS NOT NULL
    GROUP BY b.number
),
later AS (
    SELECT grid_number(min(t.time), width, origin) AS number
    FROM pair_trades(pair, grid_ceiling(stop, width, origin)) AS t
    WHERE filled AND stop IS NOT NULL
),
neighbours AS (
    SELECT b.*, lead(b.number) OVER (PARTITION BY b.is_ordinary ORDER BY b.number) AS next_number
    FROM (
        SELECT t.*, ordinary_time(grid_start(t.number, width, origin), NULL) IS NOT NULL AS is_ordinary
        FROM (
            FROM traded
            UNION ALL BY NAME
            FROM carried
            UNION ALL BY NAME
            SELECT a.number FROM later AS a WHERE a.number IS NOT NULL
        ) AS t
    ) AS b
),
-- The bar itself, and the bars without trades that follow it.
rows_of AS (
    SELECT
        b.*,
        unnest(range(
            greatest(b.number, grid_number(grid_ceiling(start, width, origin), width, origin)),
            least(
                CASE WHEN filled AND b.is_ordinary THEN coalesce(b.next_number, b.number + 1) ELSE b.number + 1 END,
                grid_number(grid_ceiling(stop, width, origin), width, origin)
            )
        )) AS row
    FROM neighbours AS b
),
timed AS (
    SELECT
        b.*,
        b.row = b.number AS is_traded,
        grid_start(b.row, width, origin) AS time,
        grid_start(b.row + 1, width, origin) AS time_end
    FROM rows_of AS b
),
holes AS (
    FROM pair_holes(pair)
),
-- The run that a bar may be within began before the bar. The gaps that may belong to it are those that began before its
-- end, without those that ended before it begins. All in one table, so that bars are sorted once to join it. Several
-- runs may begin at the same time; only the last of them can reach beyond the bar.
changes AS (
    SELECT r.after AS at, coalesce(r.last_time, '-infinity'::TIMESTAMPTZ) AS last_time, r.first_id, 0 AS missing
    FROM pair_known_runs(pair) AS r
    WHERE r.after IS NOT NULL
    UNION ALL
    SELECT h.after_time - to_microseconds(width_us(width)), NULL, NULL, h.missing
    FROM holes AS h
    UNION ALL
    SELECT h.before_time, NULL, NULL, -h.missing
    FROM holes AS h
),
changed AS (
    SELECT c.at, max(c.last_time) AS last_time, arg_max(c.first_id, c.last_time) AS first_id, sum(c.missing) AS missing
    FROM changes AS c
    GROUP BY c.at
),
known AS (
    SELECT
        c.at,
        last_value(c.last_time IGNORE NULLS) OVER so_far AS last_time,
        last_value(c.first_id IGNORE NULLS) OVER so_far AS first_id,
        sum(c.missing) OVER so_far::BIGINT AS missing
    FROM changed AS c
    WINDOW so_far AS (ORDER BY c.at)
),
proven AS (
    SELECT
        b.*,
        -- A close is carried only within one run: not across a gap, and not from before a promise.
        coalesce(k.last_time >= b.time_end AND (b.is_traded OR b.last_id >= k.first_id), false) AS complete,
        coalesce(k.missing, 0) AS missing_trades,
        cut_vwap(b.amount, b.volume, d.digits) AS vwap
    FROM timed AS b
    JOIN decimals_in_time(pair) AS d
        ON b.time >= d.since AND b.time < d.until
    ASOF LEFT JOIN known AS k
        ON b.time > k.at
)
SELECT
    pair AS pair,
    b.time,
    b.time_end,
    CASE WHEN b.is_traded THEN b.first_id END AS first_id,
    CASE WHEN b.is_traded THEN b.last_id END AS last_id,
    CASE WHEN b.is_traded THEN b.open WHEN b.complete THEN b.close END AS open,
    CASE WHEN b.is_traded THEN b.high WHEN b.complete THEN b.close END AS high,
    CASE WHEN b.is_traded THEN b.low WHEN b.complete THEN b.close END AS low,
    CASE WHEN b.is_traded OR b.complete THEN b.close END AS close,
    CASE WHEN b.is_traded THEN b.vwap WHEN b.complete THEN 0 END AS vwap,
    CASE WHEN b.is_traded THEN b.volume WHEN b.complete THEN 0 END AS volume,
    CASE WHEN b.is_traded THEN b.amount WHEN b.complete THEN 0 END AS amount,
    CASE WHEN b.is_traded THEN b.count WHEN b.complete THEN 0 END AS count,
    CASE WHEN b.is_traded THEN b.buy_volume WHEN b.complete THEN 0 END AS buy_volume,
    b.complete,
    b.missing_trades
FROM proven AS b
ORDER BY b.time;
