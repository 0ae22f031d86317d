-- Which candles are there, with those that the exchange no longer gave built from trades? The rows of ohlc, and more.
--
-- ohlc_filled(pair, timeframe, time, open, high, low, close, vwap, volume, count, source, seen)
--
-- A lost candle (ohlc_gaps) is built where no trade of its interval can be missing: it lies inside one run of ids, each
-- held, void or disowned, which has a trade before it and one at or after its end. Its source is 'trades', seen is NULL.
-- An interval without trades is filled in the exchange's way: open, high, low and close are the close before it, and
-- vwap, volume and count are zero. Where nothing is lost, no trade is read.

CREATE OR REPLACE VIEW ohlc_filled AS
WITH
neighbours AS (
    SELECT
        o.pair,
        o.timeframe,
        timeframe_us(o.timeframe) AS width_us,
        epoch_us(o.time) AS held_us,
        o.close AS held_close,
        epoch_us(lead(o.time) OVER (PARTITION BY o.pair, o.timeframe ORDER BY o.time)) AS next_us
    FROM ohlc AS o
),
lost AS (
    SELECT n.pair, n.timeframe, n.width_us, n.held_us, n.held_close, n.next_us
    FROM neighbours AS n
    WHERE n.next_us - n.held_us > n.width_us
)
SELECT o.pair, o.timeframe, o.time, o.open, o.high, o.low, o.close, o.vwap, o.volume, o.count, o.source, o.seen
FROM ohlc AS o
UNION ALL
SELECT b.pair, b.timeframe, b.time, b.open, b.high, b.low, b.close, b.vwap, b.volume, b.count, b.source, b.seen
FROM built_candles('lost', footer_files()) AS b
UNION ALL BY NAME
SELECT f.pair
FROM refused_pairs() AS f;
