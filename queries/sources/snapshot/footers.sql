-- Where are the footers that list the ids of a snapshot of the archive?
--
-- recorder_spans     one row per maximal run of ids, from the footers that recorder.connect() has read
-- recorder_promises  the promise of each pair, from the same footers
-- recorder_imported  the ids whose rows come from history files, from the same footers
-- recorder_unread    the files whose footers are still to be read, and the table's empty schema file
--
-- The macros footer_files(), pair_footers(), coverage_in(), promises_in() and imported_in() of a connection that
-- recorder.connect() pins to a listing. It sets the variable and fills the tables named here; its tables also include
-- the journal, if that was requested.

-- Files that must not be read are left out here; queries of their pair see them (refused_pairs(), pair_footers()).
CREATE OR REPLACE MACRO footer_files() AS [
    file for file in getvariable('recorder_unread') if NOT ends_with(file, '/dev/null')
];

CREATE OR REPLACE MACRO pair_footers(pair) AS pair_files('recorder_unread', pair);

CREATE OR REPLACE MACRO coverage_in(files) AS TABLE
SELECT s.pair, s.first_id, s.last_id, s.first_time, s.last_time, s.last_id - s.first_id + 1 AS rows
FROM recorder_spans AS s
UNION ALL
SELECT h.pair, h.first_id, h.last_id, h.first_time, h.last_time, h.rows
FROM stored_spans(files) AS h;

CREATE OR REPLACE MACRO promises_in(files) AS TABLE
SELECT p.pair, p.time_us, p.after_id, p.assumed
FROM recorder_promises AS p
UNION ALL
SELECT h.pair, h.time_us, h.after_id, h.assumed
FROM footer_promises(files) AS h;

CREATE OR REPLACE MACRO imported_in(files) AS TABLE
SELECT i.pair, i.first_id, i.last_id
FROM recorder_imported AS i
UNION ALL
SELECT h.pair, h.first_id, h.last_id
FROM footer_imported(files) AS h;
