-- Which ids between those of a pair may exist and are not stored, and how many may belong to a time range?
--
-- holes_in(files)                     one row per gap: pair, first_id, last_id, missing, after_time, before_time
-- pair_holes(pair)                    the same of one pair, without its name
-- missing_between(pair, start, stop)  one row with the sum missing_trades, over the gaps that may have a trade at or
--                                     after start and before stop; NULL or left out: open end
--
-- Without ids that do not exist (void) or are disowned: these are the rows of the view gaps that are open and between
-- archived ids, or between the anchor of the promise and the first one, but only this pair's files are opened. Times
-- are infinite if no trade on that side has a time at which it can have been made.

CREATE OR REPLACE MACRO holes_in(files) AS TABLE
SELECT
    u.pair,
    u.first_id,
    u.last_id,
    u.last_id - u.first_id + 1 AS missing,
    coalesce(u.after_time, '-infinity'::TIMESTAMPTZ) AS after_time,
    coalesce(u.before_time, 'infinity'::TIMESTAMPTZ) AS before_time
FROM unknown_ids(files) AS u
WHERE u.before_id IS NOT NULL AND (u.after_id IS NOT NULL OR u.after_time IS NOT NULL);

CREATE OR REPLACE MACRO pair_holes(pair) AS TABLE
SELECT h.first_id, h.last_id, h.missing, h.after_time, h.before_time
FROM holes_in(pair_footers(known_pair(pair))) AS h
WHERE h.pair = pair;

CREATE OR REPLACE MACRO missing_between(pair, start := NULL, stop := NULL) AS TABLE
SELECT coalesce(sum(h.missing), 0)::BIGINT AS missing_trades
FROM pair_holes(pair) AS h
WHERE (start IS NULL OR h.before_time >= utc_moment(start))
    AND (stop IS NULL OR h.after_time < utc_moment(stop));
