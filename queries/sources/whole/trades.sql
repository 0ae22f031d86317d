-- Which trades belong to a snapshot of the archive if all of them are in files that have no others?
--
-- The macro trades_in() of a connection that recorder.connect() pins to a listing. It replaces the one that also reads
-- files with later rows, and the journal: nearly always there are none, and checking takes as long as a short query.

CREATE OR REPLACE MACRO trades_in(files, cut_files) AS TABLE
SELECT f.pair, f.trade_id, f.time, f.price, f.qty, f.side, f.ord_type, f.misc, f.source, f.received
FROM read_parquet(
    files,
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
) AS f;
