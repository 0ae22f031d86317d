-- What is archived, and what proves it? One row per maximal unbroken run of ids of a pair, and of imported time.
--
-- coverage(pair, first_id, last_id, first_time, last_time, rows, proof)
--
--   proof   ids        the trades have ids, which show whether any is missing; rows is the number of ids in the run
--           imported   trades without ids, equal to a history file by its SHA-256 and checksum, and nothing more is known
--                      of them: an unbroken time that the files cover, until before last_time; the ids are NULL
--           published  candles of history files, as Kraken printed them: one row per pair, from the first to the end of
--                      the last, with their number; the ids are NULL
--
-- Reads only footers, no rows. For a single pair use pair_coverage().

CREATE OR REPLACE VIEW coverage AS
SELECT c.pair, c.first_id, c.last_id, c.first_time, c.last_time, c.rows, 'ids' AS proof
FROM coverage_in(footer_files()) AS c
UNION ALL BY NAME
SELECT i.pair, i.first_time, i.last_time, i.rows, i.proof
FROM imported_coverage(imported_files('bulk_trades'), imported_files('bulk_ohlc')) AS i
UNION ALL BY NAME
SELECT f.pair
FROM refused_pairs() AS f;
