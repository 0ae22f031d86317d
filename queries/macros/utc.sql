-- Which moment is meant, and on which UTC day does one lie, whatever the session's TimeZone is?
--
-- utc_moment(moment)  an end of a range as people write it, as a TIMESTAMPTZ: text with or without a zone, a DATE (the
--                     midnight that begins it), a TIMESTAMP or a TIMESTAMPTZ; UTC where it names no zone. What is finer
--                     than a microsecond is rounded up, as no trade lies in between. NULL stays NULL.
-- utc_day(moment)     the day of a TIMESTAMPTZ; infinite where it is
-- day_start(day)      the midnight that begins it
-- first_midnight(moment) and last_midnight(moment)  those between which all days of a range lie whole, at or before its
--                     start and at or after its stop; NULL stays NULL
--
-- Casts mean the session's TimeZone, and `time::DATE` takes ten times as long as utc_day(time).

-- By a lambda, so that what is given stands in it once: macros that are given to macros would be hundreds of copies.
CREATE OR REPLACE MACRO utc_moment(moment) AS list_transform([moment], lambda given: coalesce(
    TRY_CAST(given::VARCHAR || ' UTC' AS TIMESTAMPTZ),
    TRY_CAST(given::VARCHAR || ' 00:00 UTC' AS TIMESTAMPTZ),
    given::TIMESTAMPTZ
) + to_microseconds(regexp_matches(given::VARCHAR, '\.\d{6}\d*[1-9]')::BIGINT))[1];

CREATE OR REPLACE MACRO utc_day(moment) AS coalesce(make_timestamp(epoch_us(moment))::DATE, moment::DATE);

CREATE OR REPLACE MACRO day_start(day) AS make_timestamptz(epoch_us(day));

CREATE OR REPLACE MACRO first_midnight(moment) AS day_start(utc_day(utc_moment(moment)));

CREATE OR REPLACE MACRO last_midnight(moment) AS
    day_start(utc_day(make_timestamptz(epoch_us(utc_moment(moment)) - 1)) + 1);
