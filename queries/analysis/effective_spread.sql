-- What did takers of one pair pay for immediacy, and what of it did makers keep, bar by bar?
--
-- $pair       VARCHAR               the v2 symbol, 'BTC/USD'
-- $width      INTERVAL = 1 hour     the length of a bar, '7 minutes'
-- $start      TIMESTAMPTZ = NULL    the first bar is the first that begins at or after it; NULL: all
-- $stop       TIMESTAMPTZ = NULL    the last bar is the last that begins before it; NULL: all
-- $tolerance  INTERVAL = 5 seconds  how old a quote may be
-- $horizon    INTERVAL = 5 seconds  how long after a trade makers are taken to have closed their position
--
-- Needs recorded quotes. Means of the trades that have both quotes, weighted by quantity, as doubles, in the quote
-- currency; effective_bps is relative to the mid before each trade. trades is the number of all trades, compared that of
-- those that have both quotes. The macro trade_spreads() describes each trade.

WITH spreads AS (
    SELECT
        grid_number(s.time, $width, NULL) AS number,
        s.qty,
        s.effective_spread,
        s.realised_spread,
        s.price_impact,
        mid_price(s.bid, s.ask) AS mid,
        s.price_impact IS NOT NULL AS is_compared
    FROM trade_spreads(
        $pair, grid_ceiling($start, $width, NULL), grid_ceiling($stop, $width, NULL), $tolerance, $horizon
    ) AS s
)
SELECT
    grid_start(s.number, $width, NULL) AS time,
    sum(s.effective_spread::DOUBLE * s.qty) FILTER (s.is_compared)
    / sum(s.qty) FILTER (s.is_compared) AS effective_spread,
    sum(s.realised_spread::DOUBLE * s.qty) FILTER (s.is_compared)
    / sum(s.qty) FILTER (s.is_compared) AS realised_spread,
    sum(s.price_impact::DOUBLE * s.qty) FILTER (s.is_compared)
    / sum(s.qty) FILTER (s.is_compared) AS price_impact,
    10000 * sum(s.effective_spread::DOUBLE / s.mid * s.qty) FILTER (s.is_compared)
    / sum(s.qty) FILTER (s.is_compared) AS effective_bps,
    count(*) AS trades,
    count(*) FILTER (s.is_compared) AS compared
FROM spreads AS s
GROUP BY s.number
ORDER BY s.number;
