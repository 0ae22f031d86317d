-- What did the exchange list of each pair, and when? One row per change.
--
-- instruments(pair, valid_from, valid_to, key, altname, wsname, base, quote, pair_decimals, lot_decimals,
--             cost_decimals, tick_size, ordermin, costmin, status)
--
-- valid_from is inclusive, valid_to exclusive and NULL for what is listed now.

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
FROM read_parquet(getvariable('recorder_data') || '/instruments/*.parquet');
