-- What is archived of one pair, and what proves it?
--
-- pair_coverage(pair)  the rows of the view coverage, but only this pair's files are opened

CREATE OR REPLACE MACRO pair_coverage(pair) AS TABLE
SELECT c.pair, c.first_id, c.last_id, c.first_time, c.last_time, c.rows, 'ids' AS proof
FROM coverage_in(pair_footers(known_pair(pair))) AS c
WHERE c.pair = pair
UNION ALL BY NAME
SELECT i.pair, i.first_time, i.last_time, i.rows, i.proof
FROM imported_coverage(
    pair_imported_files('bulk_trades', pair), pair_imported_files('bulk_ohlc', pair)
) AS i
WHERE i.pair = pair;
