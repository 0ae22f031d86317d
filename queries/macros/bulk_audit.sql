-- Do the candles of history files equal those built from trades, and those that the exchange published?
--
-- bulk_audit(pair, timeframe, start, stop)  as in candles(): bars that begin from start on and before stop
--
-- bulk_audit(pair, timeframe, time, against, verdict, differing, complete, open, bulk_open, high, bulk_high, low,
--            bulk_low, close, bulk_close, volume, bulk_volume, count, bulk_count)
--   against    trades, bulk_trades or ohlc: what the candle of bulk_ohlc is compared with, a row for each
--   verdict    equal           in every field; volumes at 8 decimals, because those of the files are sums of binary numbers
--              differs         all trades of the bar are known, but the fields are not equal
--              incomplete      the fields are not equal, but trades of the bar may be missing
--              missing trades  all trades of the bar are known, and there are none, but the file has a candle
--              missing bulk    there are trades, but the file has no candle, between others that it has
--              seam            the same for the last interval of a quarter, which Kraken's files are known to lack
--   differing  the names of the fields that differ
--   complete   no trade of the bar can be missing in what is compared
--   bulk_…     according to the file, the volume as printed; NULL if it has no candle
--
-- One row for each bar and source that can be compared, in order of time.

-- Do the candles of one pair's history files equal those built from trades and those of the exchange, bar by bar?
--
-- $pair       VARCHAR             the v2 symbol, 'BTC/USD'
-- $timeframe  VARCHAR = 1h        one of 1m 5m 15m 30m 1h 4h 12h 1d
-- $start      TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop       TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- by time
CREATE OR REPLACE MACRO bulk_audit(pair, timeframe, start := NULL, stop := NULL) AS TABLE
WITH
mine AS (
    SELECT o.time, o.open, o.high, o.low, o.close, o.volume, o.count
    FROM pair_bulk_ohlc(pair) AS o
    WHERE o.timeframe = timeframe
        AND (start IS NULL OR o.time >= utc_moment(start))
        AND (stop IS NULL OR o.time < utc_moment(stop))
),
known AS (
    SELECT 'trades' AS against, k.after AS first_time, k.last_time AS end_time
    FROM pair_known_runs(pair) AS k
    UNION ALL
    SELECT 'bulk_trades', make_timestamptz(epoch_us(r.first_time) - 1), r.end_time
    FROM bulk_trade_runs(pair) AS r
),
made AS (
    SELECT 'trades' AS against, c.time, c.open, c.high, c.low, c.close, c.volume, c.count, c.complete
    FROM candle_rows(pair, timeframe, start, stop) AS c
    UNION ALL
    SELECT 'bulk_trades', t.time, t.open, t.high, t.low, t.close, t.volume, t.count, t.complete
    FROM bulk_trade_bars(pair, timeframe, start, stop) AS t
    UNION ALL
    SELECT 'ohlc', p.time, p.open, p.high, p.low, p.close, p.volume, p.count, true
    FROM published(pair, timeframe, start, stop) AS p
    WHERE p.count > 0
),
silent AS (
    SELECT k.against, m.time, NULL, NULL, NULL, NULL, 0, 0, true
    FROM mine AS m
    JOIN known AS k
        ON m.time > k.first_time AND epoch_us(m.time) + timeframe_us(timeframe) <= epoch_us(k.end_time)
    ANTI JOIN made AS o
        ON k.against = o.against AND m.time = o.time
),
others AS (
    FROM made
    UNION ALL
    FROM silent
),
compared AS (
    SELECT
        o.*,
        m.time IS NOT NULL AS is_printed,
        m.open AS bulk_open,
        m.high AS bulk_high,
        m.low AS bulk_low,
        m.close AS bulk_close,
        m.volume AS bulk_volume,
        m.count AS bulk_count,
        list_filter([
            CASE WHEN o.open <> m.open THEN 'open' END,
            CASE WHEN o.high <> m.high THEN 'high' END,
            CASE WHEN o.low <> m.low THEN 'low' END,
            CASE WHEN o.close <> m.close THEN 'close' END,
            CASE WHEN o.volume <> round(m.volume, 8) THEN 'volume' END,
            CASE WHEN o.count <> m.count THEN 'count' END
        ], lambda name: name IS NOT NULL) AS differing
    FROM others AS o
    LEFT JOIN mine AS m
        ON o.time = m.time
    WHERE o.time >= (SELECT min(m.time) FROM mine AS m) AND o.time <= (SELECT max(m.time) FROM mine AS m)
)
SELECT
    pair AS pair,
    timeframe AS timeframe,
    c.time,
    c.against,
    CASE
        WHEN NOT c.is_printed THEN CASE
            WHEN make_timestamp(epoch_us(c.time) + timeframe_us(timeframe))
                = quarter_begins(make_timestamptz(epoch_us(c.time) + timeframe_us(timeframe))) THEN 'seam'
            ELSE 'missing bulk'
        END
        WHEN c.count = 0 THEN 'missing trades'
        WHEN len(c.differing) = 0 THEN 'equal'
        WHEN c.complete THEN 'differs'
        ELSE 'incomplete'
    END AS verdict,
    c.differing,
    c.complete,
    c.open,
    c.bulk_open,
    c.high,
    c.bulk_high,
    c.low,
    c.bulk_low,
    c.close,
    c.bulk_close,
    c.volume,
    c.bulk_volume,
    c.count,
    c.bulk_count
FROM compared AS c
ORDER BY c.time, c.against;
