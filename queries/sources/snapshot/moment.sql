-- Which rows of a file that also has later ones belong to a snapshot of the archive?
--
-- recorder_until                   for each folder with such files, the newest stamp that belongs to the snapshot
-- recorder_at_moment(file, stamp)  whether a row with this stamp belongs to it
--
-- For the tables without ids of a connection that recorder.connect() pins to a listing. It sets the variable.

CREATE OR REPLACE MACRO recorder_at_moment(file, stamp) AS
    stamp <= getvariable('recorder_until')[parse_dirpath(file)];
