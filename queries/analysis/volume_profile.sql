-- How much of one pair was traded at which prices?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $step   DECIMAL = NULL      the height of a price level; NULL: the power of ten that makes 5 to 50 levels
-- $start  TIMESTAMPTZ = NULL  only trades from this time on; NULL: all
-- $stop   TIMESTAMPTZ = NULL  only trades before this time; NULL: all
--
-- One row per price level with trades: prices from from_price (included) to to_price (excluded). Volumes are exact, in
-- the base currency; share is the level's part of the total, a double. missing_trades is the number of ids between
-- stored ones that may belong to the range: the same in every row.

WITH
traded AS (
    SELECT t.price, t.qty, t.side
    FROM pair_trades($pair, $start, $stop) AS t
),
height AS (
    SELECT CASE
        WHEN $step IS NOT NULL THEN bar_size($step::DECIMAL(28, 12))
        -- If there is only one price, a millionth of it is used as the range.
        ELSE power_of_ten(
            greatest(ceil(log10(greatest(max(t.price) - min(t.price), max(t.price) / 1e6) / 50)), -12)
        )::DECIMAL(28, 12)
    END AS step
    FROM traded AS t
),
levels AS (
    SELECT
        whole_times(t.price, h.step) AS number,
        any_value(h.step) AS step,
        sum(t.qty) AS volume,
        coalesce(sum(t.qty) FILTER (t.side = 'buy'), 0) AS buy_volume,
        count(*) AS count
    FROM traded AS t
    CROSS JOIN height AS h
    GROUP BY number
)
SELECT
    (l.number::DECIMAL(16, 0) * l.step)::DECIMAL(38, 12) AS from_price,
    ((l.number + 1)::DECIMAL(16, 0) * l.step)::DECIMAL(38, 12) AS to_price,
    l.volume,
    l.buy_volume,
    l.volume - l.buy_volume AS sell_volume,
    l.count,
    l.volume / sum(l.volume) OVER () AS share,
    m.missing_trades
FROM levels AS l
CROSS JOIN missing_between($pair, $start, $stop) AS m
ORDER BY from_price;
