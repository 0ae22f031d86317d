-- What did the exchange list for each pair, and when? One row per change.
--
-- instruments(pair, valid_from, valid_to, key, altname, wsname, base, quote, pair_decimals, lot_decimals,
--             cost_decimals, tick_size, ordermin, costmin, status)
--
-- valid_from is inclusive; valid_to is exclusive, and NULL for the current row. status is the exchange's value (online,
-- cancel_only, …), or delisted once the pair is missing from the listing; the other columns then keep their last
-- values.

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
