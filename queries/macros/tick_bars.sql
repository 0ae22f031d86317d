-- What are one pair's exact bars of a fixed number of trades each?
--
-- tick_bars(pair, size, start, stop)
--
-- tick_bars(pair, time, time_end, first_id, last_id, open, high, low, close, vwap, volume, amount, count, buy_volume,
--           complete, missing_trades)
--   time            of the first trade in the bar, time_end of the last: both are in it
--   complete        all of its trades are stored: each of its ids is in it, or absent
--   missing_trades  the number of its ids that are neither stored nor absent, with stored ids before and after them
--
-- The other columns are as in time_bars(). The exchange numbers the trades 1, 2, 3, …, so bar n consists of the ids
-- from n * size + 1 to (n + 1) * size: the same bars for any range, and a gap moves none of them. start and stop cut
-- the bars that contain them, which then have complete = false.

-- unheld_so_far(pair): the ids in gaps and the absent ones, with the number of each before them, and up to an id
CREATE OR REPLACE MACRO unheld_so_far(pair) AS TABLE
WITH
unheld AS (
    SELECT h.first_id, h.last_id, false AS is_absent
    FROM pair_holes(pair) AS h
    UNION ALL
    SELECT k.first_id, k.last_id, true
    FROM known_ids(pair_footers(pair)) AS k
    WHERE k.pair = pair AND NOT k.is_held
)
SELECT
    u.*,
    coalesce(sum(u.last_id - u.first_id + 1) FILTER (u.is_absent) OVER before, 0)::BIGINT AS absent_before,
    coalesce(sum(u.last_id - u.first_id + 1) FILTER (NOT u.is_absent) OVER before, 0)::BIGINT AS missing_before
FROM unheld AS u
WINDOW before AS (ORDER BY u.first_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING);

CREATE OR REPLACE MACRO so_far(ids_before, counts, first_id, last_id, id) AS
    coalesce(ids_before + CASE WHEN counts THEN least(id, last_id) - first_id + 1 ELSE 0 END, 0);

-- What are one pair's bars of a fixed number of trades each?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $size   BIGINT = 1000       how many trades a bar has
-- $start  TIMESTAMPTZ = NULL  only trades from this time on; NULL: all
-- $stop   TIMESTAMPTZ = NULL  only trades before this time; NULL: all
--
-- by first_id, without pair
CREATE OR REPLACE MACRO tick_bars(pair, size, start := NULL, stop := NULL) AS TABLE
WITH
unheld AS (
    FROM unheld_so_far(pair)
),
bars AS (
    SELECT
        (t.trade_id - 1) // bar_size(size::BIGINT) AS number,
        arg_min(t.time, t.trade_id) AS time,
        arg_max(t.time, t.trade_id) AS time_end,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id,
        unnest(ohlcv(t.trade_id, t.price, t.qty)),
        coalesce(sum(t.qty) FILTER (t.side = 'buy'), 0) AS buy_volume
    FROM pair_trades(pair, start, stop) AS t
    GROUP BY number
),
numbered AS (
    SELECT b.*, b.number * size::BIGINT AS id_before, (b.number + 1) * size::BIGINT AS id_end
    FROM bars AS b
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
    b.count + so_far(u.absent_before, u.is_absent, u.first_id, u.last_id, b.id_end)
    - so_far(o.absent_before, o.is_absent, o.first_id, o.last_id, b.id_before) = size::BIGINT AS complete,
    so_far(u.missing_before, NOT u.is_absent, u.first_id, u.last_id, b.id_end)
    - so_far(o.missing_before, NOT o.is_absent, o.first_id, o.last_id, b.id_before) AS missing_trades
FROM numbered AS b
ASOF LEFT JOIN listed_decimals(pair) AS d
    ON b.time >= d.since
ASOF LEFT JOIN unheld AS u
    ON b.id_end >= u.first_id
ASOF LEFT JOIN unheld AS o
    ON b.id_before >= o.first_id
ORDER BY b.first_id;
