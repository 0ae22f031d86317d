-- What do the trades of a bar make of it, and is it whole?
--
-- candle_rows(pair, timeframe, start, stop)  the rows of candles() from trades, with the lowest and the highest id in each,
--                                            first_id and last_id, not sorted
-- unknown_bars(files, timeframe)             the bars in which trades may be missing
-- cut_vwap(amount, volume, digits)           the quotient truncated to so many decimals
-- decimals_in_time(symbol)                   the price decimals of a pair, and since when and until when they are listed

-- vwap12(amount, volume) is the quotient truncated to 12 digits, as an integer. Both sums are exact decimals, of scale
-- 20 and 8; without their points they are integers whose quotient has scale 12. Computed as text, because DuckDB has no
-- other conversion to an integer of that size that cannot overflow; it takes half a microsecond a bar. `/` would be a
-- DOUBLE, wrong in 10 % of the bars with one trade.
CREATE OR REPLACE MACRO vwap12(amount, volume) AS
    replace(amount::VARCHAR, '.', '')::HUGEINT // replace(volume::VARCHAR, '.', '')::HUGEINT;

-- cut_price(price12, digits): an integer of scale 12, truncated to that number of decimals, as a price. In two parts: a
-- product of decimals that wide would overflow.
CREATE OR REPLACE MACRO cut_price(price12, digits) AS (
    (price12 // 1000000000000)::DECIMAL(28, 12)
    + (price12 % 1000000000000 // (10 ^ (12 - digits))::BIGINT * (10 ^ (12 - digits))::BIGINT)::DECIMAL(12, 0)
    * 0.000000000001::DECIMAL(12, 12)
)::DECIMAL(28, 12);

-- cut_vwap(amount, volume, digits) is cut_price(vwap12(amount, volume), digits), five times as fast: the quotient of
-- the doubles is the right price or a neighbour of it, and two exact products decide which. Below 10^14 steps a double
-- is off by less than one; beyond that, and where a product would not fit, the slow way is used.
CREATE OR REPLACE MACRO steps_price(steps, digits) AS
    (steps::DECIMAL(28, 0) * (10.0 ^ -digits)::DECIMAL(13, 12))::DECIMAL(28, 12);

CREATE OR REPLACE MACRO vwap_steps(amount, volume, digits) AS
    floor(amount::DOUBLE / volume::DOUBLE * 10.0 ^ digits);

CREATE OR REPLACE MACRO cut_vwap(amount, volume, digits) AS CASE
    WHEN vwap_steps(amount, volume, digits) < 1e14 AND amount < 1e17 AND volume < 1e17 THEN steps_price(
        vwap_steps(amount, volume, digits) + CASE
            WHEN steps_price(vwap_steps(amount, volume, digits), digits) * volume > amount THEN -1
            WHEN steps_price(vwap_steps(amount, volume, digits) + 1, digits) * volume <= amount THEN 1
            ELSE 0
        END,
        digits
    )
    ELSE cut_price(vwap12(amount, volume), digits)
END;

-- price_decimals(): the number of price decimals of each pair, since when it is listed, inclusive, and until the next
-- listing, exclusive. The first listing also applies to the time before it. A delisting does not change decimals: its row
-- repeats them.
CREATE OR REPLACE MACRO price_decimals() AS TABLE
SELECT
    i.pair,
    CASE WHEN row_number() OVER listings = 1 THEN '-infinity'::TIMESTAMPTZ ELSE i.valid_from END AS since,
    coalesce(lead(i.valid_from) OVER listings, 'infinity'::TIMESTAMPTZ) AS until,
    i.pair_decimals AS digits
FROM stored_instruments() AS i
WINDOW listings AS (PARTITION BY i.pair ORDER BY i.valid_from);

-- listed_decimals(symbol): the same for one pair. (DuckDB 2.0 does not accept a parameter with the name of a view's
-- column.)
CREATE OR REPLACE MACRO listed_decimals(symbol) AS TABLE
SELECT d.since, d.until, d.digits
FROM price_decimals() AS d
WHERE d.pair = symbol;

-- unlisted_decimals(): the decimals of a pair that was never listed: all decimals, for any range.
CREATE OR REPLACE MACRO unlisted_decimals() AS 12;

-- decimals_in_time(symbol): the same also for a pair that was never listed. Through a list, so that DuckDB expects one
-- row, as there nearly always is: then it need not sort bars to join them.
CREATE OR REPLACE MACRO decimals_in_time(symbol) AS TABLE
SELECT unnest(list(l), recursive := true)
FROM (
    FROM listed_decimals(symbol)
    UNION ALL
    SELECT '-infinity'::TIMESTAMPTZ, 'infinity'::TIMESTAMPTZ, unlisted_decimals()
    WHERE NOT EXISTS (FROM listed_decimals(symbol))
) AS l;

-- unknown_bars(files, timeframe): the bars in which trades may be missing, as one row of bar numbers for each run of
-- unknown ids.
CREATE OR REPLACE MACRO unknown_bars(files, timeframe) AS TABLE
SELECT
    u.pair,
    coalesce(epoch_us(u.after_time) // timeframe_us(timeframe), -9223372036854775807) AS low,
    coalesce(epoch_us(u.before_time) // timeframe_us(timeframe), 9223372036854775807) AS high
FROM unknown_ids(files) AS u;

-- candle_rows(pair, timeframe, start, stop): candles() with the lowest and highest id in each, first_id and last_id,
-- not sorted.
CREATE OR REPLACE MACRO candle_rows(pair, timeframe, start := NULL, stop := NULL) AS TABLE
WITH
bars AS (
    SELECT
        epoch_us(t.time) // timeframe_us(timeframe) AS number,
        min(t.trade_id) AS first_id,
        max(t.trade_id) AS last_id,
        unnest(ohlcv(t.trade_id, t.price, t.qty))
    FROM pair_trades(pair, bar_ceiling(start, timeframe), bar_ceiling(stop, timeframe)) AS t
    GROUP BY number
),
timed AS (
    SELECT b.*, make_timestamptz(b.number * timeframe_us(timeframe)) AS time
    FROM bars AS b
),
-- The bars from that of the last trade before unknown ids to that of the first trade after them. All other bars with
-- trades are within the run of their trades: it has a trade before them and one at or after their end.
ends AS (
    SELECT e.low, max(e.high) OVER (ORDER BY e.low, e.high) AS high
    FROM unknown_bars(pair_footers(pair), timeframe) AS e
    WHERE e.pair = pair
)
SELECT
    pair AS pair,
    timeframe AS timeframe,
    b.time,
    b.open,
    b.high,
    b.low,
    b.close,
    cut_vwap(b.amount, b.volume, d.digits) AS vwap,
    b.volume,
    b.count,
    coalesce(e.high < b.number, true) AS complete,
    b.first_id,
    b.last_id
FROM timed AS b
JOIN decimals_in_time(pair) AS d
    ON b.time >= d.since AND b.time < d.until
ASOF LEFT JOIN ends AS e
    ON b.number >= e.low;
