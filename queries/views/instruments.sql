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
    i.pair,
    i.valid_from,
    lead(i.valid_from) OVER (PARTITION BY i.pair ORDER BY i.valid_from) AS valid_to,
    i.key,
    i.altname,
    i.wsname,
    i.base,
    i.quote,
    i.pair_decimals,
    i.lot_decimals,
    i.cost_decimals,
    i.tick_size,
    i.ordermin,
    i.costmin,
    i.status
FROM stored_instruments() AS i;
