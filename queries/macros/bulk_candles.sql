-- What are the candles of one pair where history files are counted in, each from a single source?
--
-- bulk_candle_rows(symbol, bar, start, stop)  the rows of candles(…, bulk := true), not sorted; also the lowest and
--                                             highest id in those from trades, first_id and last_id
-- bulk_trade_runs(symbol)    the time that bulk_trades covers: first_time, and end_time, which is exclusive
-- bulk_ohlc_runs(symbol)     the time from the first to the last candle of a member: timeframe, first_time, end_time
-- bulk_trade_bars(symbol, bar, start, stop)   candles built from bulk_trades
-- bulk_ohlc_bars(symbol, bar, start, stop)    candles of bulk_ohlc: of the timeframe as printed, or else made of the
--                                             longest shorter ones of which a bar consists
--
-- Trades count where they are whole, then bulk_trades, then bulk_ohlc: a bar is complete if one of them covers it whole.
-- Of several that do not, that with the most trades is taken. (Parameters cannot have the names of columns.)

CREATE OR REPLACE MACRO bulk_trade_runs(symbol) AS TABLE
SELECT r.first_time, r.end_time
FROM imported_runs(pair_imported_files('bulk_trades', symbol)) AS r
WHERE r.pair = symbol;

-- A member of several years is described by several files: neighbouring years are joined.
CREATE OR REPLACE MACRO bulk_ohlc_runs(symbol) AS TABLE
WITH years AS (
    SELECT
        s.*,
        year(make_timestamp(epoch_us(s.first_time)))
        - row_number() OVER (PARTITION BY s.timeframe, s.sha256 ORDER BY s.first_time) AS run
    FROM pair_bulk_series(symbol) AS s
)
SELECT y.timeframe, min(y.first_time) AS first_time, max(y.end_time) AS end_time
FROM years AS y
GROUP BY y.timeframe, y.sha256, y.run;

-- The order of rows is that of their days, and within a day that of their member.
CREATE OR REPLACE MACRO bulk_trade_bars(symbol, bar, start, stop) AS TABLE
WITH
bars AS (
    SELECT
        epoch_us(t.time) // timeframe_us(bar) AS number,
        unnest(ohlcv(epoch_us(t.time) // 86400000000 * 1000000000000 + t.row, t.price, t.qty))
    FROM pair_bulk_trades(symbol) AS t
    WHERE (start IS NULL OR t.time >= bar_ceiling(start, bar))
        AND (stop IS NULL OR t.time < bar_ceiling(stop, bar))
    GROUP BY number
),
timed AS (
    SELECT b.*, make_timestamptz(b.number * timeframe_us(bar)) AS time
    FROM bars AS b
)
SELECT
    b.number,
    b.time,
    b.open,
    b.high,
    b.low,
    b.close,
    cut_vwap(b.amount, b.volume, d.digits) AS vwap,
    b.volume,
    b.count,
    coalesce(make_timestamptz((b.number + 1) * timeframe_us(bar)) <= r.end_time, false) AS complete
FROM timed AS b
JOIN decimals_in_time(symbol) AS d
    ON b.time >= d.since AND b.time < d.until
ASOF LEFT JOIN bulk_trade_runs(symbol) AS r
    ON b.time >= r.first_time;

-- quarter_begins(moment): the last beginning of a quarter at or before the time, as a TIMESTAMP in UTC
CREATE OR REPLACE MACRO quarter_begins(moment) AS date_trunc('quarter', make_timestamp(epoch_us(moment)));

-- A bar that is made of shorter candles is complete within one member, unless the last interval of a quarter is in it and
-- has no candle: some of Kraken's files lack these.
CREATE OR REPLACE MACRO bulk_ohlc_bars(symbol, bar, start, stop) AS TABLE
WITH
printed AS (
    SELECT
        o.*,
        timeframe_us(o.timeframe) AS width,
        epoch_us(o.time) // timeframe_us(bar) AS number,
        epoch_us(o.time) + timeframe_us(o.timeframe) AS end_us
    FROM pair_bulk_ohlc(symbol) AS o
    WHERE timeframe_us(bar) % timeframe_us(o.timeframe) = 0
        AND (start IS NULL OR o.time >= bar_ceiling(start, bar))
        AND (stop IS NULL OR o.time < bar_ceiling(stop, bar))
),
bars AS (
    SELECT
        p.number,
        p.timeframe,
        p.width,
        make_timestamptz(p.number * timeframe_us(bar)) AS time,
        make_timestamptz((p.number + 1) * timeframe_us(bar)) AS end_time,
        arg_min(p.open, p.time) AS open,
        max(p.high) AS high,
        min(p.low) AS low,
        arg_max(p.close, p.time) AS close,
        round(sum(p.volume), 8)::DECIMAL(38, 8) AS volume,
        sum(p.count)::BIGINT AS count,
        bool_or(make_timestamp(p.end_us) = quarter_begins(make_timestamptz(p.end_us))) AS ends_quarter
    FROM printed AS p
    GROUP BY p.number, p.timeframe, p.width
),
runs AS (
    SELECT
        r.timeframe,
        r.first_time,
        max(r.end_time) OVER (PARTITION BY r.timeframe ORDER BY r.first_time) AS end_time
    FROM bulk_ohlc_runs(symbol) AS r
),
judged AS (
    SELECT
        b.*,
        b.width = timeframe_us(bar) OR (
            coalesce(b.end_time <= r.end_time, false)
            AND (b.ends_quarter OR quarter_begins(b.end_time) <= make_timestamp(epoch_us(b.time)))
        ) AS complete
    FROM bars AS b
    ASOF LEFT JOIN runs AS r
        ON b.timeframe = r.timeframe AND b.time >= r.first_time
)
SELECT j.number, j.time, j.open, j.high, j.low, j.close, j.volume, j.count, j.complete
FROM judged AS j
QUALIFY row_number() OVER (PARTITION BY j.number ORDER BY j.complete DESC, j.width DESC) = 1;

-- Time that a better source covers whole has no bar of a worse one, even if it has no trades.
CREATE OR REPLACE MACRO bulk_candle_rows(symbol, bar, start := NULL, stop := NULL) AS TABLE
WITH
-- As in candle_rows(). A pair without trades is unknown throughout.
unknown AS (
    SELECT u.low, max(u.high) OVER (ORDER BY u.low, u.high) AS high
    FROM (
        SELECT e.low, e.high FROM unknown_bars(pair_footers(known_pair(symbol)), bar) AS e WHERE e.pair = symbol
        UNION ALL
        SELECT -9223372036854775807, 9223372036854775807
        WHERE NOT EXISTS (FROM coverage_in(pair_footers(known_pair(symbol))) AS c WHERE c.pair = symbol)
    ) AS u
),
bulk AS (
    SELECT
        2 AS place,
        t.number,
        t.time,
        t.open,
        t.high,
        t.low,
        t.close,
        t.vwap,
        t.volume,
        t.count,
        t.complete,
        'bulk_trades' AS origin
    FROM bulk_trade_bars(symbol, bar, start, stop) AS t
    UNION ALL
    SELECT 3, o.number, o.time, o.open, o.high, o.low, o.close, NULL, o.volume, o.count, o.complete, 'bulk_ohlc'
    FROM bulk_ohlc_bars(symbol, bar, start, stop) AS o
    ASOF LEFT JOIN bulk_trade_runs(symbol) AS r
        ON o.time >= r.first_time
    WHERE NOT coalesce(make_timestamptz((o.number + 1) * timeframe_us(bar)) <= r.end_time, false)
),
every AS (
    SELECT
        1 AS place,
        c.time,
        c.open,
        c.high,
        c.low,
        c.close,
        c.vwap,
        c.volume::DECIMAL(38, 8) AS volume,
        c.count,
        c.complete,
        c.first_id,
        c.last_id,
        'trades' AS origin
    FROM candle_rows(symbol, bar, start, stop) AS c
    UNION ALL BY NAME
    SELECT b.* EXCLUDE (number)
    FROM bulk AS b
    ASOF LEFT JOIN unknown AS u
        ON b.number >= u.low
    WHERE NOT coalesce(u.high < b.number, true)
)
SELECT
    symbol AS pair,
    bar AS timeframe,
    e.* EXCLUDE (place)
FROM every AS e
QUALIFY row_number() OVER (
    PARTITION BY e.time ORDER BY e.complete DESC, CASE WHEN e.complete THEN 0 ELSE -e.count END, e.place
) = 1;

-- wanted false, or NULL: the rows and columns of candles() without history files
CREATE OR REPLACE MACRO bulk_candles(symbol, bar, start, stop, wanted) AS TABLE
SELECT COLUMNS(lambda name: name <> 'origin' OR coalesce(wanted, false))
FROM (
    SELECT
        c.pair, c.timeframe, c.time, c.open, c.high, c.low, c.close, c.vwap, c.volume, c.count, c.complete,
        'trades' AS origin
    FROM candle_rows(symbol, bar, start, stop) AS c
    WHERE NOT coalesce(wanted, false)
    UNION ALL
    SELECT
        b.pair, b.timeframe, b.time, b.open, b.high, b.low, b.close, b.vwap, b.volume, b.count, b.complete, b.origin
    FROM bulk_candle_rows(symbol, bar, start, stop) AS b
    WHERE coalesce(wanted, false)
) AS e
ORDER BY e.time;

-- bulk_known_bars(symbol, bar): the bars about which one of the sources knows everything, as one row of bar numbers for
-- each unbroken run of a source
CREATE OR REPLACE MACRO bulk_known_bars(symbol, bar) AS TABLE
SELECT
    r.first_us // timeframe_us(bar) + (r.first_us % timeframe_us(bar) > 0)::BIGINT AS low,
    r.end_us // timeframe_us(bar) - 1 AS high
FROM (
    SELECT CASE WHEN isfinite(k.after) THEN epoch_us(k.after) + 1 ELSE 0 END AS first_us, epoch_us(k.last_time) AS end_us
    FROM pair_known_runs(symbol) AS k
    UNION ALL
    SELECT epoch_us(t.first_time), epoch_us(t.end_time)
    FROM bulk_trade_runs(symbol) AS t
    UNION ALL
    SELECT epoch_us(o.first_time), epoch_us(o.end_time)
    FROM bulk_ohlc_runs(symbol) AS o
    WHERE timeframe_us(bar) % timeframe_us(o.timeframe) = 0
) AS r;
