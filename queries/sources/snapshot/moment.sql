-- Which rows of a file that also holds later ones belong to one moment of the archive?
--
-- recorder_until              of each folder with such files, the newest stamp that belongs to the moment
-- recorder_at_moment(file, stamp)  whether a row with this stamp does
--
-- For the tables without ids of a connection that recorder.connect() holds to a listing. It sets the variable.

CREATE OR REPLACE MACRO recorder_at_moment(file, stamp) AS
    stamp <= getvariable('recorder_until')[parse_dirpath(file)];
