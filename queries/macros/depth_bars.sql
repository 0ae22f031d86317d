-- How much was offered near the middle of the order book of one pair, at regular moments?
--
-- depth_bars(pair, start, stop, every, basis_points, by)
--   start, stop, every, by  as in book_snapshots()
--   basis_points            how far from the middle, in hundredths of a percent; 10 unless it is named
--
-- depth_bars(pair, moment, mid, bid_qty, ask_qty, bid_amount, ask_amount, covered, verified)
--   mid         the mean of the best bid and the best ask
--   *_qty       the sum of quantities at most that far from mid, in the base currency; *_amount the same times price
--   covered     whether the recorded levels reach that far on both sides; if not, there may have been more
--   verified    whether all levels in the sums are: see book_levels()
--
-- A moment of which nothing is known, or whose book lacks a side, has no row.

CREATE OR REPLACE MACRO depth_bars(pair, start, stop, every, basis_points := 10, by := 'received') AS TABLE
WITH
levels AS (
    SELECT b.moment, b.side, b.level, b.price, b.qty, b.verified
    FROM book_levels_between(
        pair, book_grid(start, stop, every), utc_moment(start), utc_moment(stop), "by"
    ) AS b
),
middles AS (
    SELECT
        l.moment,
        mid_price(
            max(l.price) FILTER (l.side = 'bid' AND l.level = 1), max(l.price) FILTER (l.side = 'ask' AND l.level = 1)
        ) AS mid,
        min(l.price) FILTER (l.side = 'bid') AS lowest,
        max(l.price) FILTER (l.side = 'ask') AS highest
    FROM levels AS l
    GROUP BY l.moment
),
near AS (
    SELECT
        m.moment,
        m.mid,
        m.mid - m.lowest > m.mid * basis_points / 10000 AND m.highest - m.mid > m.mid * basis_points / 10000
            AS covered,
        l.side,
        l.price,
        l.qty,
        l.verified
    FROM middles AS m
    INNER JOIN levels AS l
        ON m.moment = l.moment
    WHERE m.mid IS NOT NULL AND abs(l.price - m.mid) <= m.mid * basis_points / 10000
)
SELECT
    pair AS pair,
    m.moment,
    m.mid,
    coalesce(sum(n.qty) FILTER (n.side = 'bid'), 0)::DECIMAL(38, 8) AS bid_qty,
    coalesce(sum(n.qty) FILTER (n.side = 'ask'), 0)::DECIMAL(38, 8) AS ask_qty,
    coalesce(sum(trade_amount(n.price, n.qty)) FILTER (n.side = 'bid'), 0) AS bid_amount,
    coalesce(sum(trade_amount(n.price, n.qty)) FILTER (n.side = 'ask'), 0) AS ask_amount,
    coalesce(bool_and(n.covered), false) AS covered,
    coalesce(bool_and(n.verified), false) AS verified
FROM middles AS m
LEFT JOIN near AS n
    ON m.moment = n.moment
WHERE m.mid IS NOT NULL
GROUP BY m.moment, m.mid
UNION ALL BY NAME
FROM without_book(pair)
ORDER BY moment;
