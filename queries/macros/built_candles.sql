-- Which candles do the trades make for intervals whose exchange candle is lost?
--
-- built_candles(lost, footers)  the rows of ohlc_filled that ohlc does not have
--   lost     the name of a table, view or CTE with one row per stretch of lost candles: pair, timeframe, width_us (of
--            an interval), held_us and held_close (start and close of the candle before it), next_us (start of the
--            one after it)
--
-- A candle is built if no trade of its interval can be missing: the interval is within one run of ids, each stored or
-- void, with a trade before it and one at or after its end. An interval without trades has the previous close, if that
-- is in the same run; otherwise it has no row.

-- Written as one chain in which each step is used once: DuckDB would compute a step that is used twice for all pairs
-- before filtering. If it expects fewer stretches than trades, it reads them first, and then only trades from the first
-- stretch to the last.
CREATE OR REPLACE MACRO built_candles(lost, footers) AS TABLE
WITH
bars AS (
    SELECT
        s.pair,
        s.timeframe,
        s.width_us,
        s.held_us,
        s.next_us,
        s.held_close,
        epoch_us(t.time) // s.width_us AS number,
        max(t.trade_id) AS last_id,
        unnest(ohlcv(t.trade_id, t.price, t.qty))
    FROM sound_trades() AS t
    RIGHT JOIN query_table(lost) AS s
        ON t.pair = CASE WHEN s.next_us > s.held_us THEN s.pair END
        AND t.time >= make_timestamptz(s.held_us + s.width_us)
        AND t.time < make_timestamptz(s.next_us)
    GROUP BY s.pair, s.timeframe, s.width_us, s.held_us, s.next_us, s.held_close, number
),
-- A bar also represents the intervals without trades after it, and the first of a stretch those before it.
spread AS (
    SELECT
        b.*,
        coalesce(lag(b.number) OVER stretch IS NULL, true) AS is_first,
        lead(b.number) OVER stretch AS next_number
    FROM bars AS b
    WINDOW stretch AS (PARTITION BY b.pair, b.timeframe, b.held_us ORDER BY b.number)
),
candles AS (
    SELECT
        b.*,
        unnest(range(
            CASE WHEN b.is_first THEN b.held_us // b.width_us + 1 ELSE b.number END,
            coalesce(b.next_number, b.next_us // b.width_us)
        )) AS row
    FROM spread AS b
),
timed AS (
    SELECT
        c.*,
        coalesce(c.row = c.number, false) AS is_traded,
        -- Within one run of ids, the last price before an interval is that of the last trade before it in this stretch.
        -- If the stretch has none yet, and the run begins before the stretch, it is that of the stored candle before
        -- it.
        coalesce(c.row > c.number, false) AS is_carried,
        CASE WHEN c.row > c.number THEN c.close ELSE c.held_close END AS close_before,
        make_timestamptz(c.row * c.width_us) AS time,
        make_timestamptz((c.row + 1) * c.width_us) AS time_end
    FROM candles AS c
),
runs AS (
    SELECT k.pair, k.after, max(k.last_time) AS last_time, arg_max(k.first_id, k.last_time) AS first_id
    FROM known_runs(footers) AS k
    GROUP BY k.pair, k.after
)
SELECT
    b.pair,
    b.timeframe,
    b.time,
    CASE WHEN b.is_traded THEN b.open ELSE b.close_before END AS open,
    CASE WHEN b.is_traded THEN b.high ELSE b.close_before END AS high,
    CASE WHEN b.is_traded THEN b.low ELSE b.close_before END AS low,
    CASE WHEN b.is_traded THEN b.close ELSE b.close_before END AS close,
    CASE
        WHEN b.is_traded THEN cut_vwap(b.amount, b.volume, coalesce(d.digits, unlisted_decimals())) ELSE 0
    END AS vwap,
    TRY_CAST(CASE WHEN b.is_traded THEN b.volume ELSE 0 END AS DECIMAL(28, 8)) AS volume,
    CASE WHEN b.is_traded THEN b.count ELSE 0 END AS count,
    'trades' AS source,
    NULL::TIMESTAMPTZ AS seen
FROM timed AS b
ASOF JOIN runs AS r
    ON b.pair = r.pair AND b.time > r.after
ASOF LEFT JOIN price_decimals() AS d
    ON b.pair = d.pair AND b.time >= d.since
WHERE r.last_time >= b.time_end
    AND CASE
        WHEN b.is_traded THEN true
        WHEN b.is_carried THEN b.last_id >= r.first_id
        ELSE r.after < make_timestamptz(b.held_us + b.width_us)
    END;
