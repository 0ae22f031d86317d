-- Which ids are archived? One row per maximal unbroken run of ids of a pair.
--
-- coverage(pair, first_id, last_id, first_time, last_time, rows)
--
-- rows is the number of ids in the run. Reads only footers, no rows. For a single pair use pair_coverage().

CREATE OR REPLACE VIEW coverage AS
SELECT c.pair, c.first_id, c.last_id, c.first_time, c.last_time, c.rows
FROM coverage_in(footer_files()) AS c
UNION ALL BY NAME
SELECT f.pair
FROM refused_pairs() AS f;
