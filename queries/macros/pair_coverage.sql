-- Which ids of one pair are archived?
--
-- pair_coverage(pair)  the rows of the view coverage, but only this pair's files are opened

CREATE OR REPLACE MACRO pair_coverage(pair) AS TABLE
SELECT c.pair, c.first_id, c.last_id, c.first_time, c.last_time, c.rows
FROM coverage_in(pair_footers(known_pair(pair))) AS c
WHERE c.pair = pair;
