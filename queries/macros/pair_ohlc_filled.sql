-- Which candles of one series exist, including lost ones rebuilt from trades?
--
-- pair_ohlc_filled(symbol, bar, start, stop)  the rows of the view ohlc_filled of one pair and timeframe that begin at
--                                             or after start and before stop; NULL or left out: open end
--
-- Faster than the view: it reads only the candles of the range, and only the trades between the first and the last lost
-- candle. If no candle is lost, it reads none. (Its parameters cannot have the names of columns.)

CREATE OR REPLACE MACRO pair_ohlc_filled(symbol, bar, start := NULL, stop := NULL) AS TABLE
WITH
series AS NOT MATERIALIZED (
    SELECT s.time, s.close, s.seen
    FROM stored_ohlc() AS s
    WHERE s.pair = symbol AND s.timeframe = bar
),
-- The candles of the range, and the next one on either side of it.
held AS (
    SELECT epoch_us(s.time) AS held_us, arg_max(s.close, s.seen) AS held_close
    FROM series AS s
    WHERE s.time >= coalesce(
            (SELECT max(b.time) FROM series AS b WHERE b.time < utc_moment(start)), '-infinity'::TIMESTAMPTZ
        )
        AND s.time <= coalesce(
            (SELECT min(a.time) FROM series AS a WHERE a.time >= utc_moment(stop)), 'infinity'::TIMESTAMPTZ
        )
    GROUP BY held_us
),
neighbours AS (
    SELECT h.held_us, h.held_close, lead(h.held_us) OVER (ORDER BY h.held_us) AS next_us
    FROM held AS h
),
-- Through a list, so that DuckDB expects one row.
lost AS (
    SELECT symbol AS pair, bar AS timeframe, timeframe_us(bar) AS width_us, unnest(l.stretches, recursive := true)
    FROM (SELECT list(n) AS stretches FROM neighbours AS n WHERE n.next_us - n.held_us > timeframe_us(bar)) AS l
)
SELECT o.pair, o.timeframe, o.time, o.open, o.high, o.low, o.close, o.vwap, o.volume, o.count, o.source, o.seen
FROM ohlc AS o
WHERE o.pair = symbol
    AND o.timeframe = bar
    AND (start IS NULL OR o.time >= utc_moment(start))
    AND (stop IS NULL OR o.time < utc_moment(stop))
UNION ALL
SELECT b.pair, b.timeframe, b.time, b.open, b.high, b.low, b.close, b.vwap, b.volume, b.count, b.source, b.seen
FROM built_candles('lost', pair_footers(known_pair(symbol))) AS b
WHERE (start IS NULL OR b.time >= utc_moment(start))
    AND (stop IS NULL OR b.time < utc_moment(stop));
