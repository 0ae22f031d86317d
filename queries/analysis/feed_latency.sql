-- How long after its execution did a live trade of one pair arrive, day by day?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $start  TIMESTAMPTZ = NULL  the first day is the one that contains it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last day is the last that begins before it; NULL: all
--
-- The latency is received - time in microseconds, over the trades that came from the stream (others have no receive
-- time). It compares the exchange's clock with that of the recording host: a negative value shows that the two do not
-- agree. Quantiles are values that occurred. trades is the number of streamed trades, fetched the number of others.

SELECT
    utc_day(t.time) AS day,
    count(t.received) AS trades,
    count(*) - count(t.received) AS fetched,
    min(epoch_us(t.received) - epoch_us(t.time)) AS min_us,
    quantile_disc(epoch_us(t.received) - epoch_us(t.time), 0.5) AS p50_us,
    quantile_disc(epoch_us(t.received) - epoch_us(t.time), 0.9) AS p90_us,
    quantile_disc(epoch_us(t.received) - epoch_us(t.time), 0.99) AS p99_us,
    max(epoch_us(t.received) - epoch_us(t.time)) AS max_us
FROM pair_trades($pair, first_midnight($start), last_midnight($stop)) AS t
GROUP BY day
ORDER BY day;
