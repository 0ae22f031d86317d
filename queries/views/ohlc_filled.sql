-- Which candles are there, with those that the exchange no longer gave built from trades? The rows of ohlc, and more.
--
-- ohlc_filled(pair, timeframe, time, open, high, low, close, vwap, volume, count, source, seen)
--
-- A lost candle (ohlc_gaps) is built where no trade of its interval can be missing: it lies inside one run of ids, each
-- held, void or disowned, which has a trade before it and one at or after its end. Its source is 'trades', seen is NULL.
-- An interval without trades is filled in the exchange's way: open, high, low and close are the close before it, and
-- vwap, volume and count are zero. Where nothing is lost, no trade is read.

-- Written as one chain, each step used once: DuckDB computes a step that is used twice for all pairs before it filters.
CREATE OR REPLACE VIEW ohlc_filled AS
WITH
neighbours AS (
    SELECT
        o.pair,
        o.timeframe,
        timeframe_us(o.timeframe) AS width_us,
        epoch_us(o.time) AS held_us,
        epoch_us(lead(o.time) OVER (PARTITION BY o.pair, o.timeframe ORDER BY o.time)) AS next_us,
        o.close AS held_close
    FROM ohlc AS o
),
-- One row for each candle lost.
lost AS (
    SELECT
        n.pair,
        n.timeframe,
        n.width_us,
        n.held_us,
        n.held_close,
        unnest(range(n.held_us // n.width_us + 1, n.next_us // n.width_us)) AS number
    FROM neighbours AS n
    WHERE n.next_us - n.held_us > n.width_us
),
-- Every trade once for each timeframe, so that the join below finds its interval by equality.
numbered AS (
    SELECT
        t.pair,
        f.timeframe,
        epoch_us(t.time) // timeframe_us(f.timeframe) AS number,
        t.trade_id,
        t.price,
        t.qty
    FROM trades AS t
    CROSS JOIN (VALUES ('1m'), ('5m'), ('15m'), ('30m'), ('1h'), ('4h'), ('1d'), ('1w'), ('15d')) AS f(timeframe)
),
bars AS (
    SELECT
        l.pair,
        l.timeframe,
        l.width_us,
        l.held_us,
        l.held_close,
        l.number,
        unnest(ohlcv(t.trade_id, t.price, t.qty)),
        max(length(rtrim(split_part(t.price::VARCHAR, '.', 2), '0'))) AS printed
    FROM lost AS l
    LEFT JOIN numbered AS t
        ON l.pair = t.pair AND l.timeframe = t.timeframe AND l.number = t.number
    GROUP BY l.pair, l.timeframe, l.width_us, l.held_us, l.held_close, l.number
),
timed AS (
    SELECT
        b.*,
        make_timestamptz(b.number * b.width_us) AS time,
        make_timestamptz((b.number + 1) * b.width_us) AS time_end,
        max(b.printed) OVER (PARTITION BY b.pair, b.timeframe) AS most_printed,
        -- Inside one run of ids, what was traded last before an interval is the last trade before it in this stretch;
        -- where the stretch has none yet, the run goes back beyond it, and the candle held before it tells.
        coalesce(last_value(b.close IGNORE NULLS) OVER stretch, b.held_close) AS close_before
    FROM bars AS b
    WINDOW stretch AS (
        PARTITION BY b.pair, b.timeframe, b.held_us
        ORDER BY b.number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
runs AS (
    SELECT k.pair, k.after, k.last_time
    FROM known_runs(footer_files()) AS k
)
SELECT o.pair, o.timeframe, o.time, o.open, o.high, o.low, o.close, o.vwap, o.volume, o.count, o.source, o.seen
FROM ohlc AS o
UNION ALL
SELECT
    b.pair,
    b.timeframe,
    b.time,
    coalesce(b.open, b.close_before),
    coalesce(b.high, b.close_before),
    coalesce(b.low, b.close_before),
    coalesce(b.close, b.close_before),
    coalesce(cut_price(vwap12(b.amount, b.volume), coalesce(d.digits, b.most_printed)), 0),
    coalesce(b.volume, 0)::DECIMAL(28, 8),
    b.count,
    'trades',
    NULL
FROM timed AS b
ASOF JOIN runs AS r
    ON b.pair = r.pair AND b.time > r.after
ASOF LEFT JOIN price_decimals() AS d
    ON b.pair = d.pair AND b.time >= d.since
WHERE r.last_time >= b.time_end;
