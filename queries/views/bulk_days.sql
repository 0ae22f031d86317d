-- Which days do trades without ids cover, and what do other history files say of them? One row per pair and UTC day.
--
-- bulk_days(pair, day, rows, partial, covered_from, covered_until, sha256, file, first_row, last_row, equal, differing)
--
--   partial       the member begins or ends in this day, or a line of it could not be read: then not the whole day is
--                 known. All trades of the time from covered_from until before covered_until are.
--   sha256        of the member that has the rows; file is its base name, first_row and last_row are its lines
--   equal         how many other members have the same rows, or a part of them where they begin or end
--   differing     how many have other rows, which were not stored: see `recorder import --prefer`
--
-- Reads only footers, no rows.

CREATE OR REPLACE VIEW bulk_days AS
FROM bulk_days_in(imported_files('bulk_trades'));
