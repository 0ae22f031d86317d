-- Which candles exist, including lost ones rebuilt from trades? The rows of ohlc, and the rebuilt ones.
--
-- ohlc_filled(pair, timeframe, time, open, high, low, close, vwap, volume, count, source, seen)
--
-- A lost candle (ohlc_gaps) is rebuilt if no trade of its interval can be missing: the interval is within one run of
-- ids, each stored, void or disowned, with a trade before it and one at or after its end. Its source is 'trades', seen
-- is NULL. An interval without trades is filled as the exchange fills it: open, high, low and close are the previous
-- close, and vwap, volume and count are zero. If no candle is lost, no trades are read.

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
