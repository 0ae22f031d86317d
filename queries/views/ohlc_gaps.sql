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
        s.pair,
        s.timeframe,
        epoch_us(s.time) AS time_us,
        epoch_us(lead(s.time) OVER (PARTITION BY s.pair, s.timeframe ORDER BY s.time)) AS next_us
    FROM stored_ohlc() AS s
)
SELECT
    n.pair,
    n.timeframe,
    make_timestamptz(n.time_us + timeframe_us(n.timeframe)) AS first_time,
    make_timestamptz(n.next_us - timeframe_us(n.timeframe)) AS last_time,
    (n.next_us - n.time_us) // timeframe_us(n.timeframe) - 1 AS missing
FROM neighbours AS n
WHERE n.next_us - n.time_us > timeframe_us(n.timeframe);
