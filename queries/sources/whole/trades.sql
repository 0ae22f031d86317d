-- Which trades belong to one moment of the archive, where all of them lie in files, and these hold no others?
--
-- The macro trades_in() of a connection that recorder.connect() holds to a listing, in place of the one that also looks
-- at files with later rows and at the journal: nearly always there are none, and looking takes as long as a short
-- answer.

CREATE OR REPLACE MACRO trades_in(files, cut_files) AS TABLE
SELECT pair, trade_id, time, price, qty, side, ord_type, misc, source, received
FROM read_parquet(
    files,
    hive_partitioning = true,
    hive_types = {'pair': VARCHAR, 'year': BIGINT},
    hive_types_autocast = false
);
