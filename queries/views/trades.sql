-- Which trades are archived? One row per trade; (pair, trade_id) identifies it.
--
-- trades(pair, trade_id, time, price, qty, side, ord_type, misc, source, received)
--
-- Set recorder_data to the archive's folder first. For one pair, pair_trades() opens fewer files.
--
-- While the recorder runs, "cannot open file" means that a compaction took it away meanwhile: ask again. One that
-- falls into the fraction of a millisecond in which DuckDB lists a year's folder can hide the year from this one
-- query, since DuckDB passes over names that are gone. recorder.connect() lists by itself and is never fooled.

CREATE OR REPLACE VIEW trades AS
SELECT pair, trade_id, time, price, qty, side, ord_type, misc, source, received
FROM read_parquet(
    getvariable('recorder_data') || '/trades/*/*/*.parquet',
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
);
