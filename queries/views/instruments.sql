-- What did the exchange list of each pair, and when? One row per change.
--
-- instruments(pair, valid_from, valid_to, key, altname, wsname, base, quote, pair_decimals, lot_decimals,
--             cost_decimals, tick_size, ordermin, costmin, status)
--
-- valid_from is inclusive, valid_to exclusive and NULL for what holds now. status is the exchange's word (online,
-- cancel_only, …), or delisted since the pair is missing from the listing; the other columns then keep what they were.

CREATE OR REPLACE VIEW instruments AS
SELECT
    pair,
    valid_from,
    lead(valid_from) OVER (PARTITION BY pair ORDER BY valid_from) AS valid_to,
    key,
    altname,
    wsname,
    base,
    quote,
    pair_decimals,
    lot_decimals,
    cost_decimals,
    tick_size,
    ordermin,
    costmin,
    status
FROM stored_instruments();
