-- Which candles of the exchange are lost between those held? One row per stretch.
--
-- ohlc_gaps(pair, timeframe, first_time, last_time, missing)
--
-- Kraken's candles are contiguous: every interval has one, with or without trades. first_time and last_time are the
-- starts of the first and the last candle lost, missing is how many they are. Kraken serves the last 720 intervals
-- only, so they are lost for good; ohlc_filled builds them from trades.

CREATE OR REPLACE VIEW ohlc_gaps AS
WITH neighbours AS (
    -- Several versions of one candle do no harm here: they are no interval apart.
    SELECT
        pair,
        timeframe,
        epoch_us(time) AS time_us,
        epoch_us(lead(time) OVER (PARTITION BY pair, timeframe ORDER BY time)) AS next_us
    FROM stored_ohlc()
)
SELECT
    pair,
    timeframe,
    make_timestamptz(time_us + timeframe_us(timeframe)) AS first_time,
    make_timestamptz(next_us - timeframe_us(timeframe)) AS last_time,
    (next_us - time_us) // timeframe_us(timeframe) - 1 AS missing
FROM neighbours
WHERE next_us - time_us > timeframe_us(timeframe);
