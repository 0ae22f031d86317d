-- How did the order book of one pair look, at regular moments?
--
-- book_snapshots(pair, start, stop, every, depth, by)
--   start, stop  the first moment is the first multiple of every since 1970 at or after start, the last is before stop
--   every        the time between two, '1 minute' or an INTERVAL
--   depth        levels of each side; 10 unless it is named
--   by           'received', which is the default, or 'time': whose clock the moments are of
--
-- book_snapshots(pair, moment, bids, asks, session, message, verified)
--   bids, asks  lists of the best levels, best first, each with price and qty
--   verified    whether all levels shown are: see book_levels()
--
-- A moment of which nothing is known has a row without bids and asks, which is not verified.

CREATE OR REPLACE MACRO book_snapshots(pair, start, stop, every, depth := 10, by := 'received') AS TABLE
WITH
grid AS (
    SELECT unnest(book_grid(start, stop, every)) AS moment
),
found AS (
    SELECT
        b.moment,
        list({'price': b.price, 'qty': b.qty} ORDER BY b.level) FILTER (b.side = 'bid') AS bids,
        list({'price': b.price, 'qty': b.qty} ORDER BY b.level) FILTER (b.side = 'ask') AS asks,
        any_value(b.session) AS session,
        any_value(b.message) AS message,
        bool_and(b.verified) AS verified
    FROM book_levels_between(
        pair, book_grid(start, stop, every), utc_moment(start), utc_moment(stop), "by"
    ) AS b
    WHERE b.level <= depth
    GROUP BY b.moment
)
SELECT
    pair AS pair,
    g.moment,
    f.bids,
    f.asks,
    f.session,
    f.message,
    coalesce(f.verified, false) AS verified
FROM grid AS g
LEFT JOIN found AS f
    ON g.moment = f.moment
UNION ALL BY NAME
FROM without_book(pair)
ORDER BY moment;
