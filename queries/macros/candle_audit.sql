-- Do the candles built from trades equal those that the exchange published, and where do they differ?
--
-- candle_audit(pair, timeframe, start, stop)  as in candles(): bars that begin from start on and before stop
--
-- candle_audit(pair, timeframe, time, verdict, differing, complete, open, ohlc_open, high, ohlc_high, low, ohlc_low,
--              close, ohlc_close, vwap, ohlc_vwap, volume, ohlc_volume, count, ohlc_count)
--   verdict    equal           equal in every field
--              silent          neither side has trades, and all fields are equal
--              differs         every trade is stored, but the fields are not equal
--              incomplete      the fields are not equal, but a gap in the trades touches the bar
--              missing ohlc    there is no candle of the exchange (the newest is requested a little after its end)
--              missing trades  the exchange counts trades, and none is stored
--   differing  the names of the fields that differ
--   complete   as in candles(): no trade of the bar can be missing
--   open …     according to the trades; in a complete bar without trades, as the exchange fills it: open, high, low and
--              close are the previous close, vwap, volume and count are zero. NULL if nothing is known.
--   ohlc_…     according to the exchange
--
-- One row for each interval from the first to the last that either side has, in order of time. A part of a range has
-- the same rows as the whole.

-- published(symbol, bar, start, stop): the candles of one series. (Its parameters cannot have the names of columns.)
CREATE OR REPLACE MACRO published(symbol, bar, start, stop) AS TABLE
SELECT o.time, o.open, o.high, o.low, o.close, o.vwap, o.volume, o.count
FROM ohlc AS o
WHERE o.pair = symbol
    AND o.timeframe = bar
    AND (start IS NULL OR o.time >= utc_moment(start))
    AND (stop IS NULL OR o.time < utc_moment(stop));

-- Do the candles built from one pair's trades equal those that the exchange published, interval by interval?
--
-- $pair       VARCHAR             the v2 symbol, 'BTC/USD'
-- $timeframe  VARCHAR = 1m        one of 1m 5m 15m 30m 1h 4h 1d 1w 15d
-- $start      TIMESTAMPTZ = NULL  the first interval is the first that begins at or after it; NULL: all
-- $stop       TIMESTAMPTZ = NULL  the last interval is the last that begins before it; NULL: all
--
-- by time
CREATE OR REPLACE MACRO candle_audit(pair, timeframe, start := NULL, stop := NULL) AS TABLE
WITH
-- Bars of trades, including those without trades in between, filled as the exchange fills them.
built AS (
    SELECT b.time, b.open, b.high, b.low, b.close, b.vwap, b.volume, b.count, b.complete
    FROM time_bars(pair, to_microseconds(timeframe_us(timeframe)), start, stop, filled := true) AS b
),
exchange AS (
    FROM published(pair, timeframe, start, stop)
),
times AS (
    SELECT time FROM built UNION SELECT time FROM exchange
),
-- Times on either side outside the range: the intervals up to them are missing on both sides, but are rows of the whole
-- range.
around AS (
    SELECT 'before' AS place, p.time FROM published(pair, timeframe, NULL, start) AS p WHERE start IS NOT NULL
    UNION ALL
    SELECT 'before', t.time FROM pair_trades(pair, NULL, bar_ceiling(start, timeframe)) AS t WHERE start IS NOT NULL
    UNION ALL
    SELECT 'after', p.time FROM published(pair, timeframe, stop, NULL) AS p WHERE stop IS NOT NULL
    UNION ALL
    SELECT 'after', t.time FROM pair_trades(pair, bar_ceiling(stop, timeframe)) AS t WHERE stop IS NOT NULL
    UNION ALL
    SELECT 'inside', t.time FROM times AS t
),
ends AS (
    SELECT
        CASE WHEN bool_or(a.place = 'before') THEN epoch_us(bar_ceiling(start, timeframe))
            ELSE epoch_us(min(a.time) FILTER (a.place = 'inside')) END AS first_us,
        CASE WHEN bool_or(a.place = 'after') THEN epoch_us(bar_ceiling(stop, timeframe))
            ELSE epoch_us(max(a.time) FILTER (a.place = 'inside')) + timeframe_us(timeframe) END AS end_us
    FROM around AS a
    WHERE ordinary_time(a.time, NULL) IS NOT NULL
),
-- Intervals are not filled up to a bar in which no trade can have been made.
intervals AS (
    SELECT make_timestamptz(unnest(range(e.first_us, e.end_us, timeframe_us(timeframe)))) AS time
    FROM ends AS e
    UNION
    SELECT t.time
    FROM times AS t
),
filled AS (
    SELECT
        i.time,
        coalesce(b.complete, false) AS complete,
        coalesce(b.count > 0, false) AS traded,
        b.open,
        b.high,
        b.low,
        b.close,
        b.vwap,
        b.volume,
        b.count,
        e.time IS NOT NULL AS is_published,
        e.open AS ohlc_open,
        e.high AS ohlc_high,
        e.low AS ohlc_low,
        e.close AS ohlc_close,
        e.vwap AS ohlc_vwap,
        e.volume AS ohlc_volume,
        e.count AS ohlc_count
    FROM intervals AS i
    LEFT JOIN built AS b ON i.time = b.time
    LEFT JOIN exchange AS e ON i.time = e.time
),
compared AS (
    SELECT
        f.*,
        list_filter([
            CASE WHEN f.open <> f.ohlc_open THEN 'open' END,
            CASE WHEN f.high <> f.ohlc_high THEN 'high' END,
            CASE WHEN f.low <> f.ohlc_low THEN 'low' END,
            CASE WHEN f.close <> f.ohlc_close THEN 'close' END,
            CASE WHEN f.vwap <> f.ohlc_vwap THEN 'vwap' END,
            CASE WHEN f.volume <> f.ohlc_volume THEN 'volume' END,
            CASE WHEN f.count <> f.ohlc_count THEN 'count' END
        ], lambda name: name IS NOT NULL) AS differing
    FROM filled AS f
)
SELECT
    pair AS pair,
    timeframe AS timeframe,
    c.time,
    CASE
        WHEN NOT c.is_published THEN 'missing ohlc'
        WHEN NOT c.traded AND c.ohlc_count > 0 THEN 'missing trades'
        WHEN len(c.differing) = 0 THEN CASE WHEN c.traded THEN 'equal' ELSE 'silent' END
        WHEN c.complete THEN 'differs'
        ELSE 'incomplete'
    END AS verdict,
    c.differing,
    c.complete,
    c.open,
    c.ohlc_open,
    c.high,
    c.ohlc_high,
    c.low,
    c.ohlc_low,
    c.close,
    c.ohlc_close,
    c.vwap,
    c.ohlc_vwap,
    c.volume,
    c.ohlc_volume,
    c.count,
    c.ohlc_count
FROM compared AS c
ORDER BY c.time;
