-- What did each trade of one pair cost its taker, compared with the quotes before and after it?
--
-- trade_spreads(pair, start, stop, tolerance, horizon)
--   start      inclusive, stop exclusive, by the time of the trade; NULL or left out: open end
--   tolerance  how old a quote may be, '5 seconds' if left out; an older one does not count
--   horizon    how long after the trade the second quote is looked for, '5 seconds' if left out
--
-- trade_spreads(pair, trade_id, time, price, qty, side, bid, ask, quote_age, effective_spread, realised_spread,
--               price_impact)
--   bid, ask          the last quote before the trade; NULL if it is older than tolerance, its session ended before the
--                     trade, or it lacks a side
--   quote_age         how old it was, an INTERVAL
--   effective_spread  twice the distance of the price from the mid before the trade, in the direction of the taker:
--                     what the taker paid for immediacy. realised_spread is the same from the mid after the horizon:
--                     what the maker kept. price_impact is their difference. All exact; NULL where a quote is
--
-- Compared by the exchange's times: a quote counts from its own time, or from its receive time where it has none, and
-- one that has the time of the trade is its consequence. So a host's clock that is wrong matters only for ends of
-- sessions, unless it is wrong by more than a minute.

CREATE OR REPLACE MACRO in_direction(side, amount) AS
    (CASE WHEN side = 'buy' THEN amount ELSE -amount END)::DECIMAL(38, 12);

CREATE OR REPLACE MACRO trade_spreads(
    pair, start := NULL, stop := NULL, tolerance := '5 seconds', horizon := '5 seconds'
) AS TABLE
WITH
traded AS (
    SELECT t.trade_id, t.time, t.price, t.qty, t.side, t.time + horizon::INTERVAL AS later
    FROM pair_trades(pair, start, stop) AS t
),
clocked AS (
    SELECT coalesce(q.time, q.received) AS at, q.bid, q.ask, q.session, q.message, q.ended, q.until
    FROM quotes_in_force(
        pair,
        utc_moment(start) - tolerance::INTERVAL - INTERVAL '1 minute',
        utc_moment(stop) + horizon::INTERVAL + INTERVAL '1 minute'
    ) AS q
),
-- Of several with one time the last one counts.
quoted AS (
    SELECT
        c.at,
        arg_max(
            {
                bid: CASE WHEN is_two_sided(c.bid, c.ask) THEN c.bid END,
                ask: CASE WHEN is_two_sided(c.bid, c.ask) THEN c.ask END,
                until: CASE WHEN c.ended THEN c.until ELSE 'infinity'::TIMESTAMPTZ END
            },
            (c.session, c.message)
        ) AS quote
    FROM clocked AS c
    GROUP BY c.at
),
matched AS (
    SELECT
        t.*,
        CASE WHEN t.time - b.at <= tolerance::INTERVAL AND t.time <= b.quote.until THEN b.quote END AS before,
        t.time - b.at AS quote_age,
        CASE WHEN t.later - a.at <= tolerance::INTERVAL AND t.later <= a.quote.until THEN a.quote END AS after
    FROM traded AS t
    ASOF LEFT JOIN quoted AS b
        ON t.time > b.at
    ASOF LEFT JOIN quoted AS a
        ON t.later >= a.at
)
SELECT
    pair AS pair,
    m.trade_id,
    m.time,
    m.price,
    m.qty,
    m.side,
    m.before.bid AS bid,
    m.before.ask AS ask,
    CASE WHEN m.before.bid IS NOT NULL THEN m.quote_age END AS quote_age,
    in_direction(m.side, m.price + m.price - m.before.bid - m.before.ask) AS effective_spread,
    in_direction(m.side, m.price + m.price - m.after.bid - m.after.ask) AS realised_spread,
    in_direction(m.side, m.after.bid + m.after.ask - m.before.bid - m.before.ask) AS price_impact
FROM matched AS m
ORDER BY m.trade_id;
