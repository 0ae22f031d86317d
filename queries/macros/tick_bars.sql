-- What are the bars of so many trades each of one pair, exactly?
--
-- tick_bars(pair, size, start, stop)
--   pair   the v2 symbol, 'BTC/USD'
--   size   trades in a bar
--   start  trades from this moment on count; NULL or left out: open end
--   stop   trades before this moment count; NULL or left out: open end
--
-- tick_bars(pair, time, time_end, first_id, last_id, open, high, low, close, vwap, volume, amount, count, buy_volume,
--           complete, missing_trades)
--   time            of the first trade in the bar, time_end of the last: both are in it
--   complete        all of its trades are there: count = size
--   missing_trades  how many of its ids are not held, though later ones are
--
-- The other columns are as of time_bars(). The exchange numbers the trades 1, 2, 3, …, so bar n is made of the ids
-- from n * size + 1 to (n + 1) * size: the same bars whatever range is asked for, and a hole moves none of them.
-- start and stop cut the bars in which they lie, which then say complete = false.

-- held_so_far(pair): how many ids are held before each run
CREATE OR REPLACE MACRO held_so_far(pair) AS TABLE
SELECT
    c.first_id,
    c.last_id,
    (sum(c.rows) OVER (ORDER BY c.first_id))::BIGINT - c.rows AS held_before,
    min(c.first_id) OVER () AS lowest,
    max(c.last_id) OVER () AS highest
FROM pair_coverage(pair) AS c;

CREATE OR REPLACE MACRO tick_bars(pair, size, start := NULL, stop := NULL) AS TABLE
WITH
bars AS (
    SELECT
        (t.trade_id - 1) // bar_size(size::BIGINT) AS number,
        arg_min(t.time, t.trade_id) AS time,
        arg_max(t.time, t.trade_id) AS time_end,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id,
        arg_min(t.price, t.trade_id) AS open,
        max(t.price) AS high,
        min(t.price) AS low,
        arg_max(t.price, t.trade_id) AS close,
        sum(t.price * t.qty) AS amount,
        sum(t.qty) AS volume,
        count(*) AS count,
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
    cut_vwap(b.amount, b.volume, coalesce(d.digits, p.digits)) AS vwap,
    b.volume,
    b.amount,
    b.count,
    b.buy_volume,
    b.count = size::BIGINT AS complete,
    least(b.id_end, upto.highest) - greatest(b.id_before, upto.lowest - 1)
    - (upto.held_before + least(b.id_end, upto.last_id) - upto.first_id + 1)
    + coalesce(before.held_before + least(b.id_before, before.last_id) - before.first_id + 1, 0) AS missing_trades
FROM numbered AS b
ASOF LEFT JOIN listed_decimals(pair) AS d
    ON b.time >= d.since
CROSS JOIN printed_decimals(pair, start, stop) AS p
ASOF LEFT JOIN held_so_far(pair) AS upto
    ON b.id_end >= upto.first_id
ASOF LEFT JOIN held_so_far(pair) AS before
    ON b.id_before >= before.first_id
ORDER BY b.first_id;
