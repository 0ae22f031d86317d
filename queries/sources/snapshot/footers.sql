-- Where is it said which ids belong to one moment of the archive?
--
-- recorder_spans   one row per maximal run of ids, as far as recorder.connect() has read footers
-- recorder_promises  what is promised of each pair, by the same footers
-- recorder_unread  the files whose footers are still to be read, and the table's empty schema file
--
-- The macros footer_files(), pair_footers(), coverage_in() and promises_in() of a connection that recorder.connect() holds to a
-- listing. It sets the variable and fills the tables named here; what it has read also counts the journal, where that
-- was asked for.

-- A file that must not be read is left to whoever asks for its pair (refused_pairs(), pair_footers()).
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
