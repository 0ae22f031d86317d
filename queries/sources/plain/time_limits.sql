-- Between which times do all trades lie?
--
-- time_limits()  the rows of time_limits_in() for all files of trades

CREATE OR REPLACE MACRO time_limits() AS TABLE
FROM time_limits_in(getvariable('recorder_data') || '/trades/*/*/*.parquet');
