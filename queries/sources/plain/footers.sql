-- Where are the footers that list the archived ids?
--
-- footer_files()       a glob over all files of trades
-- pair_footers(pair)   a glob over those of one pair, and a few more: see pair_files()
-- coverage_in(files)   one row per maximal run of ids in such files, with the columns of the view coverage
-- promises_in(files)   the promises of pairs recorded in such files: see footer_promises()
-- imported_in(files)   the ids in such files whose rows come from history files: pair, first_id, last_id

CREATE OR REPLACE MACRO footer_files() AS getvariable('recorder_data') || '/trades/*/*/*.parquet';

CREATE OR REPLACE MACRO pair_footers(pair) AS pair_files(pair);

CREATE OR REPLACE MACRO coverage_in(files) AS TABLE
SELECT h.pair, h.first_id, h.last_id, h.first_time, h.last_time, h.rows
FROM stored_spans(files) AS h;

CREATE OR REPLACE MACRO promises_in(files) AS TABLE
SELECT h.pair, h.time_us, h.after_id, h.assumed
FROM footer_promises(files) AS h;

CREATE OR REPLACE MACRO imported_in(files) AS TABLE
SELECT h.pair, h.first_id, h.last_id
FROM footer_imported(files) AS h;
