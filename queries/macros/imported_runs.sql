-- Which time do history files without ids cover, and what is proven of it?
--
-- imported_runs(files)    one row per unbroken time of which files of bulk_trades, a glob or list, have all trades: pair,
--                         first_time, end_time (exclusive), and rows, the trades of its days
-- imported_coverage(trades, candles)  what the view coverage says of them: pair, first_time, last_time, rows, proof

CREATE OR REPLACE MACRO imported_runs(files) AS TABLE
WITH
marked AS (
    SELECT
        d.*,
        d.covered_from > lag(d.covered_until) OVER (PARTITION BY d.pair ORDER BY d.day) AS begins
    FROM bulk_days_in(files) AS d
    WHERE d.covered_from < d.covered_until
),
numbered AS (
    SELECT m.*, count(*) FILTER (m.begins) OVER (PARTITION BY m.pair ORDER BY m.day) AS run
    FROM marked AS m
)
SELECT n.pair, min(n.covered_from) AS first_time, max(n.covered_until) AS end_time, sum(n.rows)::BIGINT AS rows
FROM numbered AS n
GROUP BY n.pair, n.run;

CREATE OR REPLACE MACRO imported_coverage(trades, candles) AS TABLE
SELECT r.pair, r.first_time, r.end_time AS last_time, r.rows, 'imported' AS proof
FROM imported_runs(trades) AS r
UNION ALL
SELECT s.pair, min(s.first_time), max(s.end_time), sum(s.stored)::BIGINT, 'published'
FROM bulk_series_in(candles) AS s
GROUP BY s.pair;
