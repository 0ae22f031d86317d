-- Do the candles built from trades equal those that the exchange published, and where do they not?
--
-- candle_audit(pair, timeframe, start, stop)  as of candles(): bars that begin from start on and before stop
--
-- candle_audit(pair, timeframe, time, verdict, differing, complete, open, ohlc_open, high, ohlc_high, low, ohlc_low,
--              close, ohlc_close, vwap, ohlc_vwap, volume, ohlc_volume, count, ohlc_count)
--   verdict    equal           the same in every field
--              silent          neither side has trades in it, and the fields are the same
--              differs         every trade is held, and yet the fields are not the same
--              incomplete      they are not the same, but a hole in the trades touches the bar
--              missing ohlc    there is no candle of the exchange (the newest is asked for a little after its end)
--              missing trades  the exchange counts trades in it, and none is held
--   differing  the names of the fields that are not the same
--   complete   as of candles(): no trade of the bar can be missing
--   open …     what the trades say; in a complete bar without trades as the exchange would put it: open, high, low and
--              close are the close before it, vwap, volume and count zero. NULL where nothing is known.
--   ohlc_…     what the exchange says
--
-- One row for each interval from the first to the last that either side has, in the order of time.

-- published(symbol, bar, start, stop): the candles of one series. (Its parameters cannot have the names of columns.)
CREATE OR REPLACE MACRO published(symbol, bar, start, stop) AS TABLE
SELECT o.time, o.open, o.high, o.low, o.close, o.vwap, o.volume, o.count
FROM ohlc AS o
WHERE o.pair = symbol
    AND o.timeframe = bar
    AND (start IS NULL OR o.time >= utc_moment(start))
    AND (stop IS NULL OR o.time < utc_moment(stop));

CREATE OR REPLACE MACRO candle_audit(pair, timeframe, start := NULL, stop := NULL) AS TABLE
WITH
built AS (
    SELECT b.time, b.open, b.high, b.low, b.close, b.vwap, b.volume, b.count
    FROM candles(pair, timeframe, start, stop) AS b
),
exchange AS (
    FROM published(pair, timeframe, start, stop)
),
times AS (
    SELECT time FROM built UNION SELECT time FROM exchange
),
ends AS (
    SELECT epoch_us(min(t.time)) AS first_us, epoch_us(max(t.time)) AS last_us
    FROM times AS t
    WHERE ordinary_time(t.time, NULL) IS NOT NULL
),
-- Up to a bar in which no trade can have been made there are none.
intervals AS (
    SELECT make_timestamptz(unnest(range(e.first_us, e.last_us + 1, timeframe_us(timeframe)))) AS time
    FROM ends AS e
    UNION ALL
    SELECT t.time
    FROM times AS t
    WHERE ordinary_time(t.time, NULL) IS NULL
),
runs AS (
    SELECT k.after, k.last_time
    FROM pair_known_runs(pair) AS k
),
sides AS (
    SELECT
        i.time,
        coalesce(epoch_us(r.last_time) >= epoch_us(i.time) + timeframe_us(timeframe), false) AS complete,
        b.count IS NOT NULL AS traded,
        -- Inside one run of ids the last trade before a silent bar is the last one in the range, if there is any.
        last_value(b.close IGNORE NULLS) OVER (
            ORDER BY i.time ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS close_before,
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
    ASOF LEFT JOIN runs AS r ON i.time > r.after
),
filled AS (
    SELECT
        s.* REPLACE (
            CASE WHEN s.traded THEN s.open WHEN s.complete THEN s.close_before END AS open,
            CASE WHEN s.traded THEN s.high WHEN s.complete THEN s.close_before END AS high,
            CASE WHEN s.traded THEN s.low WHEN s.complete THEN s.close_before END AS low,
            CASE WHEN s.traded THEN s.close WHEN s.complete THEN s.close_before END AS close,
            CASE WHEN s.traded THEN s.vwap WHEN s.complete THEN 0 END AS vwap,
            CASE WHEN s.traded THEN s.volume WHEN s.complete THEN 0 END AS volume,
            CASE WHEN s.traded THEN s.count WHEN s.complete THEN 0 END AS count
        )
    FROM sides AS s
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
