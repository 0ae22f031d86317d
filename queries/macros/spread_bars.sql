-- How wide was the spread of one pair, bar by bar?
--
-- spread_bars(pair, width, start, stop, origin)
--   width   the length of a bar, '7 minutes' or an INTERVAL; months and years have no fixed length and are rejected
--   start   the first bar is the first that begins at or after start; NULL or left out: open end
--   stop    the last bar is the last that begins before stop; NULL or left out: open end
--   origin  a time at which a bar begins; NULL or left out: 1970-01-01 UTC, as in candles()
--
-- spread_bars(pair, time, time_end, mean_spread, min_spread, max_spread, quotes, known)
--   mean_spread  weighted by time, truncated (not rounded) to 12 decimals; exact otherwise
--   min_spread   the least of the quotes that were in force at any time of the bar, max_spread the greatest
--   quotes       how many were received in the bar
--   known        the share of the bar's time in which a quote with both sides was in force, from 0 to 1
--
-- By receive times. A quote is in force until the next frame of its session, or the end of the session: nothing is
-- carried over that. A bar of which nothing is known has no row. Bars are never cut by start and stop, and a part of a
-- range has the same bars as the whole.

CREATE OR REPLACE MACRO spread_bars(pair, width, start := NULL, stop := NULL, origin := NULL) AS TABLE
WITH
held AS (
    SELECT
        quote_spread(q.bid, q.ask) AS spread,
        q.received,
        greatest(q.received, coalesce(grid_ceiling(start, width, origin), q.received)) AS since,
        least(q.until, coalesce(grid_ceiling(stop, width, origin), q.until)) AS until
    FROM quotes_in_force(
        pair, grid_ceiling(start, width, origin), grid_ceiling(stop, width, origin)
    ) AS q
),
-- A quote has a piece in each bar that it was in force in, and in that in which it was received.
pieces AS (
    SELECT
        h.*,
        unnest(range(
            grid_number(h.since, width, origin),
            greatest(
                grid_number(h.since, width, origin),
                grid_number(make_timestamptz(epoch_us(h.until) - 1), width, origin)
            ) + 1
        )) AS number
    FROM held AS h
),
timed AS (
    SELECT
        p.number,
        p.spread,
        p.received >= grid_start(p.number, width, origin) AS is_new,
        CASE WHEN p.spread IS NOT NULL THEN greatest(
            0,
            least(epoch_us(p.until), epoch_us(grid_start(p.number + 1, width, origin)))
            - greatest(epoch_us(p.since), epoch_us(grid_start(p.number, width, origin)))
        ) ELSE 0 END AS us
    FROM pieces AS p
),
-- Split into whole seconds and microseconds, since a single product would not fit a decimal.
bars AS (
    SELECT
        t.number,
        coalesce(sum(t.spread * (t.us // 1000000)::DECIMAL(10, 0)), 0) AS by_seconds,
        coalesce(sum(t.spread * (t.us % 1000000)::DECIMAL(10, 0)), 0) AS by_microseconds,
        sum(t.us) AS us,
        min(t.spread) AS min_spread,
        max(t.spread) AS max_spread,
        count(*) FILTER (t.is_new) AS quotes
    FROM timed AS t
    GROUP BY t.number
),
meant AS (
    SELECT
        b.*,
        CASE WHEN b.us > 0
            THEN (integer_12(b.by_seconds) * 1000000 + integer_12(b.by_microseconds)) // b.us::HUGEINT
        END AS mean_12
    FROM bars AS b
)
SELECT
    pair AS pair,
    grid_start(b.number, width, origin) AS time,
    grid_start(b.number + 1, width, origin) AS time_end,
    CASE WHEN b.mean_12 < 0 THEN -cut_price(-b.mean_12, 12) ELSE cut_price(b.mean_12, 12) END AS mean_spread,
    b.min_spread,
    b.max_spread,
    b.quotes,
    b.us / width_us(width) AS known
FROM meant AS b
ORDER BY b.number;
