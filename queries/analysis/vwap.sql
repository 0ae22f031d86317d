-- What was the price of one pair on average over each bar, weighted by volume (vwap) and by time (twap)?
--
-- $pair   VARCHAR             the v2 symbol, 'BTC/USD'
-- $width  INTERVAL = 1 hour   the length of a bar, '7 minutes'
-- $start  TIMESTAMPTZ = NULL  the first bar is the first that begins at or after it; NULL: all
-- $stop   TIMESTAMPTZ = NULL  the last bar is the last that begins before it; NULL: all
--
-- Both are exact, truncated (not rounded) to the price decimals listed at the start of the bar. In twap each price
-- counts from its trade to the next, in order of time. A bar begins with the last price before it, if no trade can be
-- missing in between, and otherwise with its first trade. Bars without trades have a row. complete and missing_trades
-- are as in time_bars().

WITH
bars AS (
    SELECT
        b.*,
        -- From the adjacent previous bar, of the same run of ids; the close of a bar without trades has been carried
        -- already.
        CASE
            WHEN b.missing_trades = 0
                AND lag(b.time_end) OVER bars = b.time
                AND coalesce(lag(b.last_id) OVER bars >= r.first_id, true)
                THEN lag(b.close) OVER bars
        END AS close_before
    FROM time_bars($pair, $width, grid_before($start, $width), $stop, filled := true) AS b
    ASOF LEFT JOIN pair_known_runs($pair) AS r
        ON b.first_id >= r.first_id
    WINDOW bars AS (ORDER BY b.time)
),
prices AS (
    SELECT
        grid_number(t.time, $width, NULL) AS number,
        t.time,
        t.price,
        lead(t.time) OVER (ORDER BY t.time, t.trade_id) AS next_time
    FROM pair_trades($pair, grid_ceiling($start, $width, NULL), grid_ceiling($stop, $width, NULL)) AS t
),
-- How long each price was valid in its bar, in microseconds.
held AS (
    SELECT
        p.number,
        p.time,
        p.price,
        least(
            coalesce(epoch_us(p.next_time), 9223372036854775807),
            epoch_us(grid_start(p.number + 1, $width, NULL))
        ) - epoch_us(p.time) AS us
    FROM prices AS p
),
-- Split into whole seconds and microseconds, since a single product would not fit a decimal.
weighed AS (
    SELECT
        grid_start(h.number, $width, NULL) AS time,
        min(h.time) AS first_time,
        sum(h.price * (h.us // 1000000)::DECIMAL(10, 0)) AS by_seconds,
        sum(h.price * (h.us % 1000000)::DECIMAL(10, 0)) AS by_microseconds,
        sum(h.us) AS us
    FROM held AS h
    GROUP BY h.number
),
carried AS (
    SELECT
        b.*,
        CASE WHEN b.count = 0 THEN integer_12(b.close) ELSE (
            integer_12(w.by_seconds) * 1000000
            + integer_12(w.by_microseconds)
            + coalesce(integer_12(b.close_before) * (epoch_us(w.first_time) - epoch_us(b.time)), 0)
        ) // (
            w.us + CASE WHEN b.close_before IS NULL THEN 0 ELSE epoch_us(w.first_time) - epoch_us(b.time) END
        ) END AS twap_12
    FROM bars AS b
    LEFT JOIN weighed AS w
        ON b.time = w.time
)
SELECT
    c.time,
    CASE WHEN c.count > 0 THEN c.vwap END AS vwap,
    cut_price(c.twap_12, coalesce(d.digits, unlisted_decimals())) AS twap,
    c.volume,
    c.count,
    c.complete,
    c.missing_trades
FROM carried AS c
ASOF LEFT JOIN listed_decimals($pair) AS d
    ON c.time >= d.since
WHERE $start IS NULL OR c.time >= utc_moment($start)
ORDER BY c.time;
