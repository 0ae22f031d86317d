-- Which candles of the exchange are lost between stored ones? One row per stretch.
--
-- ohlc_gaps(pair, timeframe, first_time, last_time, missing)
--
-- Kraken's candles are contiguous: every interval has one, with or without trades. first_time and last_time are the
-- starts of the first and the last lost candle, missing is their number. Kraken serves only the last 720 intervals, so
-- lost candles cannot be fetched again; ohlc_filled rebuilds them from trades.

CREATE OR REPLACE VIEW ohlc_gaps AS
WITH neighbours AS (
    -- Several versions of one candle do no harm here: the distance between them is zero.
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
