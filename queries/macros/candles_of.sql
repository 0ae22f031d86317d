-- What are the candles of many pairs, built from their trades, exactly?
--
-- candles_of(symbols, timeframe, start, stop)  as of candles(), for a list of pairs that have been listed: the price
--                                              decimals of one that never was would be a guess, so it has no rows
--
-- For recorder.connect(), which asks candles() for the others: one question takes a quarter of the time of hundreds.

CREATE OR REPLACE MACRO candles_of(symbols, timeframe, start := NULL, stop := NULL) AS TABLE
WITH
bars AS (
    SELECT
        t.pair,
        epoch_us(t.time) // timeframe_us(timeframe) AS number,
        unnest(ohlcv(t.trade_id, t.price, t.qty))
    FROM trades AS t
    WHERE list_contains(symbols, t.pair)
        AND (start IS NULL OR t.time >= bar_ceiling(start, timeframe))
        AND (stop IS NULL OR t.time < bar_ceiling(stop, timeframe))
    GROUP BY t.pair, number
),
timed AS (
    SELECT b.*, make_timestamptz(b.number * timeframe_us(timeframe)) AS time
    FROM bars AS b
),
ends AS (
    SELECT e.pair, e.low, max(e.high) OVER (PARTITION BY e.pair ORDER BY e.low, e.high) AS high
    FROM unknown_bars(footer_files(), timeframe) AS e
)
SELECT
    b.pair,
    timeframe AS timeframe,
    b.time,
    b.open,
    b.high,
    b.low,
    b.close,
    cut_vwap(b.amount, b.volume, d.digits) AS vwap,
    b.volume,
    b.count,
    coalesce(e.high < b.number, true) AS complete
FROM timed AS b
ASOF JOIN price_decimals() AS d
    ON b.pair = d.pair AND b.time >= d.since
ASOF LEFT JOIN ends AS e
    ON b.pair = e.pair AND b.number >= e.low
ORDER BY list_position(symbols, b.pair), b.time;
