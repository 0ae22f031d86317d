-- Did orders at the best prices of one pair grow on the buying or on the selling side, bar by bar?
--
-- quote_flow(pair, width, start, stop, origin)  the parameters of spread_bars()
--
-- quote_flow(pair, time, time_end, imbalance, changes, unlinked)
--   imbalance  the order flow imbalance of Cont, Kukanov and Stoikov (2014), in the base currency, exact: above zero
--              if demand grew or supply shrank at the best prices. A quote adds its bid quantity if its bid is not
--              below the one before, and takes away the one before if its bid is not above; asks the other way round
--   changes    the quotes received in the bar that were compared with the one before
--   unlinked   those that could not be: the first of a session, after a frame that could not be read, or with a side
--              that is empty
--
-- The quote before a bar's first one is used even if it came before the bar or the range, but none of another session. A
-- bar without quotes has no row.

CREATE OR REPLACE MACRO quote_flow(pair, width, start := NULL, stop := NULL, origin := NULL) AS TABLE
WITH
stepped AS (
    SELECT
        grid_number(q.received, width, origin) AS number,
        CASE WHEN is_two_sided(q.bid, q.ask) AND is_two_sided(q.before_bid, q.before_ask) THEN
            CASE WHEN q.bid >= q.before_bid THEN q.bid_qty ELSE 0 END
            - CASE WHEN q.bid <= q.before_bid THEN q.before_bid_qty ELSE 0 END
            - CASE WHEN q.ask <= q.before_ask THEN q.ask_qty ELSE 0 END
            + CASE WHEN q.ask >= q.before_ask THEN q.before_ask_qty ELSE 0 END
        END AS step
    FROM quotes_in_force(pair, grid_ceiling(start, width, origin), grid_ceiling(stop, width, origin)) AS q
    WHERE start IS NULL OR q.received >= grid_ceiling(start, width, origin)
)
SELECT
    pair AS pair,
    grid_start(s.number, width, origin) AS time,
    grid_start(s.number + 1, width, origin) AS time_end,
    sum(s.step)::DECIMAL(38, 8) AS imbalance,
    count(s.step) AS changes,
    count(*) - count(s.step) AS unlinked
FROM stepped AS s
GROUP BY s.number
ORDER BY s.number;
