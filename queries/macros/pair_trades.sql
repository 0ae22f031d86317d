-- Which trades of one pair are archived in this range of time?
--
-- pair_trades(pair, start, stop)  start inclusive, stop exclusive, NULL or left out: open end
--
-- The rows of the view trades, but only this pair's files are opened. A pair without trades has no rows.

CREATE OR REPLACE MACRO pair_trades(pair, start := NULL, stop := NULL) AS TABLE
SELECT t.pair, t.trade_id, t.time, t.price, t.qty, t.side, t.ord_type, t.misc, t.source, t.received
FROM read_parquet(
    pair_files(pair),
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
) AS t
WHERE t.pair = pair
    AND (start IS NULL OR t.time >= start::TIMESTAMPTZ)
    AND (stop IS NULL OR t.time < stop::TIMESTAMPTZ);
